//! Finds DPDK by pkg-config, compiles the shim, and writes the bindings.

use std::env;
use std::path::PathBuf;

/// The functions of DPDK that are functions and not inlined by its headers; those are the shim's.
const FUNCTIONS: &[&str] = &[
    "shim_.*",
    "rte_eal_init",
    "rte_strerror",
    "rte_version",
    "rte_openlog_stream",
    "rte_mempool_free",
    "rte_eth_dev_count_avail",
    "rte_eth_find_next_owned_by",
    "rte_eth_dev_info_get",
    "rte_eth_dev_get_mtu",
    "rte_eth_dev_socket_id",
    "rte_eth_macaddr_get",
    "rte_eth_dev_configure",
    "rte_eth_dev_adjust_nb_rx_tx_desc",
    "rte_eth_rx_queue_setup",
    "rte_eth_tx_queue_setup",
    "rte_eth_dev_start",
    "rte_eth_dev_set_mc_addr_list",
    "rte_eth_allmulticast_enable",
    "rte_eth_promiscuous_enable",
    "rte_eth_link_get_nowait",
    "rte_eth_stats_get",
];

/// The libraries behind them. What a device needs besides is loaded when the process starts, from DPDK's own folder.
const LIBRARIES: &[&str] = &["rte_ethdev", "rte_mbuf", "rte_mempool", "rte_eal"];

fn main() {
    println!("cargo:rerun-if-changed=shim.c");
    println!("cargo:rerun-if-changed=shim.h");
    // The whole list of libraries would make the program depend on dozens that it never calls.
    let library = pkg_config::Config::new()
        .atleast_version("22.11")
        .cargo_metadata(false)
        .probe("libdpdk")
        .unwrap_or_else(|error| panic!("DPDK 22.11 or newer is needed: run `scripts/setup --dpdk`. {error}"));
    for path in &library.link_paths {
        println!("cargo:rustc-link-search=native={}", path.display());
    }

    // DPDK's headers use instructions that a plain x86-64 does not have.
    let machine =
        if env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64") { Some("-march=corei7") } else { None };
    let mut shim = cc::Build::new();
    shim.file("shim.c").includes(&library.include_paths).opt_level(3).warnings(false);
    shim.flag("-include").flag("rte_config.h");
    let mut bindings = bindgen::Builder::default()
        .header("shim.h")
        .clang_args(["-include", "rte_config.h"])
        .clang_args(library.include_paths.iter().map(|path| format!("-I{}", path.display())))
        .allowlist_var("SHIM_.*")
        .opaque_type("rte_mempool")
        .opaque_type("rte_mbuf")
        .derive_default(true)
        .layout_tests(false)
        .generate_comments(false);
    if let Some(machine) = machine {
        shim.flag(machine);
        bindings = bindings.clang_arg(machine);
    }
    for function in FUNCTIONS {
        bindings = bindings.allowlist_function(function);
    }
    shim.compile("dpdkshim");
    for name in LIBRARIES {
        println!("cargo:rustc-link-lib=dylib={name}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo says where"));
    let bindings = bindings.generate().expect("libclang reads DPDK's headers: run `scripts/setup --dpdk`");
    bindings.write_to_file(out.join("bindings.rs")).expect("the folder for it is there");
}
