//! The command `cordon`.

fn main() -> std::process::ExitCode {
    cordon_hub::cli::main()
}
