//! `shoal`: train large models together, with nobody in charge.

mod cli;

fn main() -> std::process::ExitCode {
    shoal_node::net::tune_allocator();
    shoal_node::log::start();
    cli::main()
}
