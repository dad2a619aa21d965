//! Puts eBPF instructions together, with labels instead of counted jumps.
//!
//! In: the steering program, said step by step in [`super::program`]. Out: the instructions that bpf(2) loads.
//! It never decides what the program does, and never makes a backward jump: a program without loops is one whose
//! end the verifier does not have to look for.
//!
//! One instruction is eight bytes (RFC 9669 §3):
//!
//! ```text
//! byte 0   1        2..4    4..8
//! opcode   src|dst  offset  immediate
//! ```

/// A register of the eBPF machine (RFC 9669 §2.3). Calls destroy `R0` to `R5` and keep `R6` to `R9`.
#[allow(dead_code)] // The numbers are the machine's, whether or not the program needs each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    /// The end of the stack; it can be read only.
    R10,
}

/// How much a load or store moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    Byte,
    Half,
    Word,
    Double,
}

impl Width {
    /// The size bits of a load or store opcode.
    fn bits(self) -> u8 {
        match self {
            Width::Word => 0x00,
            Width::Half => 0x08,
            Width::Byte => 0x10,
            Width::Double => 0x18,
        }
    }
}

/// One instruction as the kernel reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub opcode: u8,
    /// Destination in the low four bits, source in the high four.
    pub registers: u8,
    pub offset: i16,
    pub immediate: i32,
}

const _: () = assert!(size_of::<Instruction>() == 8);

pub mod opcode {
    //! The opcodes that the steering program needs.
    pub const LOAD_MEMORY: u8 = 0x61;
    pub const STORE_MEMORY: u8 = 0x63;
    pub const LOAD_IMMEDIATE_64: u8 = 0x18;
    pub const MOVE_REGISTER: u8 = 0xbf;
    pub const MOVE_IMMEDIATE: u8 = 0xb7;
    pub const ADD_IMMEDIATE: u8 = 0x07;
    pub const AND_IMMEDIATE: u8 = 0x57;
    pub const JUMP: u8 = 0x05;
    pub const JUMP_EQUAL: u8 = 0x15;
    pub const JUMP_NOT_EQUAL: u8 = 0x55;
    pub const JUMP_GREATER_REGISTER: u8 = 0x2d;
    pub const CALL: u8 = 0x85;
    pub const EXIT: u8 = 0x95;
}

/// Marks an immediate of `LOAD_IMMEDIATE_64` as the descriptor of a map.
pub const PSEUDO_MAP_FD: u8 = 1;

/// A place in the program that jumps can name before it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// A program under construction.
#[derive(Debug, Default)]
pub struct Assembler {
    code: Vec<Instruction>,
    /// Where each label stands, once it does.
    places: Vec<Option<usize>>,
    /// Jumps whose distance is filled in by [`finish`](Assembler::finish).
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    /// An empty program.
    pub fn new() -> Assembler {
        Assembler::default()
    }

    /// A new label, not yet placed.
    pub fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// Says that `label` is here. Once for each label.
    pub fn place(&mut self, label: Label) {
        assert!(self.places[label.0].is_none(), "a label stands in one place");
        self.places[label.0] = Some(self.code.len());
    }

    /// `to = from`.
    pub fn move_register(&mut self, to: Register, from: Register) {
        self.push(opcode::MOVE_REGISTER, to, from, 0, 0);
    }

    /// `to = value`.
    pub fn move_immediate(&mut self, to: Register, value: i32) {
        self.push(opcode::MOVE_IMMEDIATE, to, Register::R0, 0, value);
    }

    /// `to += value`.
    pub fn add(&mut self, to: Register, value: i32) {
        self.push(opcode::ADD_IMMEDIATE, to, Register::R0, 0, value);
    }

    /// `to &= value`.
    pub fn and(&mut self, to: Register, value: i32) {
        self.push(opcode::AND_IMMEDIATE, to, Register::R0, 0, value);
    }

    /// `to = *(base + offset)`, the upper bits zero.
    pub fn load(&mut self, width: Width, to: Register, base: Register, offset: i16) {
        self.push(opcode::LOAD_MEMORY | width.bits(), to, base, offset, 0);
    }

    /// `*(base + offset) = from`.
    pub fn store(&mut self, width: Width, base: Register, offset: i16, from: Register) {
        self.push(opcode::STORE_MEMORY | width.bits(), base, from, offset, 0);
    }

    /// `to` = the map behind `descriptor`. Takes two instructions.
    pub fn load_map(&mut self, to: Register, descriptor: i32) {
        let registers = to as u8 | PSEUDO_MAP_FD << 4;
        self.code.push(Instruction { opcode: opcode::LOAD_IMMEDIATE_64, registers, offset: 0, immediate: descriptor });
        self.code.push(Instruction { opcode: 0, registers: 0, offset: 0, immediate: 0 });
    }

    /// Goes to `label`.
    pub fn jump(&mut self, label: Label) {
        self.push_jump(opcode::JUMP, Register::R0, Register::R0, 0, label);
    }

    /// Goes to `label` if `register == value`.
    pub fn jump_if_equal(&mut self, register: Register, value: i32, label: Label) {
        self.push_jump(opcode::JUMP_EQUAL, register, Register::R0, value, label);
    }

    /// Goes to `label` if `register != value`.
    pub fn jump_if_not_equal(&mut self, register: Register, value: i32, label: Label) {
        self.push_jump(opcode::JUMP_NOT_EQUAL, register, Register::R0, value, label);
    }

    /// Goes to `label` if `left > right`, both unsigned.
    pub fn jump_if_greater(&mut self, left: Register, right: Register, label: Label) {
        self.push_jump(opcode::JUMP_GREATER_REGISTER, left, right, 0, label);
    }

    /// Calls a helper of the kernel: arguments in `R1` to `R5`, the result in `R0`.
    pub fn call(&mut self, helper: i32) {
        self.push(opcode::CALL, Register::R0, Register::R0, 0, helper);
    }

    /// Ends the program with the verdict in `R0`.
    pub fn exit(&mut self) {
        self.push(opcode::EXIT, Register::R0, Register::R0, 0, 0);
    }

    /// The finished program. Asserts that every label stands somewhere and that every jump goes forward: both are
    /// faults of the program's text, not of anything from outside.
    pub fn finish(mut self) -> Vec<Instruction> {
        for (index, label) in &self.jumps {
            let place = self.places[label.0].expect("every label that is jumped to is placed");
            assert!(place > *index, "a jump goes forward");
            // Distances count from the instruction behind the jump (RFC 9669 §4.3).
            self.code[*index].offset = i16::try_from(place - index - 1).expect("the program is short");
        }
        self.code
    }

    fn push(&mut self, opcode: u8, destination: Register, source: Register, offset: i16, immediate: i32) {
        let registers = destination as u8 | (source as u8) << 4;
        self.code.push(Instruction { opcode, registers, offset, immediate });
    }

    fn push_jump(&mut self, opcode: u8, left: Register, right: Register, immediate: i32, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.push(opcode, left, right, 0, immediate);
    }
}
