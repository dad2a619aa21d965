//! Choices that an input makes with its first bytes, and the cuts that follow from one of them.

/// The front of an input. Where nothing is left every choice is zero, so that no input is too short.
pub struct Choices<'a> {
    rest: &'a [u8],
}

impl<'a> Choices<'a> {
    pub fn new(input: &'a [u8]) -> Choices<'a> {
        Choices { rest: input }
    }

    pub fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((first, rest)) => {
                self.rest = rest;
                *first
            }
            None => 0,
        }
    }

    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (front, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        front
    }

    pub fn rest(self) -> &'a [u8] {
        self.rest
    }
}

/// How the same bytes are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cuts {
    Whole,
    Single,
    /// Pieces of one to sixteen bytes, now and then many more.
    Random(u64),
}

impl Cuts {
    /// All ways that an input is fed; the last one differs from input to input.
    pub fn all(seed: u8) -> [Cuts; 3] {
        [Cuts::Whole, Cuts::Single, Cuts::Random(u64::from(seed))]
    }

    /// The size of the next piece, at least one.
    pub fn next(&mut self) -> usize {
        match self {
            Cuts::Whole => usize::MAX,
            Cuts::Single => 1,
            Cuts::Random(state) => {
                *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let drawn = (*state >> 33) as usize;
                if drawn & 7 == 0 { 1 + (drawn >> 3) % 5000 } else { 1 + (drawn >> 3) % 16 }
            }
        }
    }

    pub fn pieces(self, mut input: &[u8]) -> impl Iterator<Item = &[u8]> {
        let mut cuts = self;
        std::iter::from_fn(move || {
            if input.is_empty() {
                return None;
            }
            let (piece, rest) = input.split_at(cuts.next().min(input.len()));
            input = rest;
            Some(piece)
        })
    }
}
