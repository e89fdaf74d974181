//! The `mydocker` command. Everything it does is in the library; see `mydocker::cli`.

fn main() -> std::process::ExitCode {
    mydocker::cli::run(std::env::args_os())
}
