//! Configurations: any text is one, or has its mistakes named where they are.

use rohrpost::cli::check;
use rohrpost::config::{self, Hosts};

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        let _ = Hosts::parse(&String::from_utf8_lossy(data));
        return;
    };
    match config::parse_with(text, "fuzz.toml", &Hosts::parse(text)) {
        Ok(config) => {
            assert!(!config.hostname.chars().any(char::is_control), "it stands in the banner: {:?}", config.hostname);
            for warning in config::warnings(&config) {
                assert!(!warning.is_empty());
            }
        }
        Err(error) => {
            assert!(!error.problems().is_empty(), "a refusal has a reason");
            for problem in error.problems() {
                assert!(!problem.message.is_empty());
                assert!(problem.span.start <= problem.span.end && problem.span.end <= text.len(), "{problem:?}");
                assert!(text.get(problem.span.clone()).is_some(), "a place is between letters: {problem:?}");
                let line = 1 + text[..problem.span.start].matches('\n').count();
                assert_eq!(problem.line, line, "{problem:?}");
            }
            // Showing it takes ten times as long as all the rest.
            if data.len().is_multiple_of(16) {
                assert!(!check::show(&error).is_empty());
            }
        }
    }
}
