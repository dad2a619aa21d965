//! What is wrong with a configuration file, each mistake with its place in it.

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// Why a file is no configuration.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum ConfigError {
    /// It could not be read at all.
    #[error("cannot read {}", path.display())]
    #[diagnostic(help("name the file with --config FILE"))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It is larger than any configuration is.
    #[error("{} is larger than {size_max} bytes: recipients belong into maps", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// [`crate::limits::CONFIG_SIZE_MAX`].
        size_max: u64,
    },
    /// It holds mistakes.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Invalid(Box<Invalid>),
}

impl ConfigError {
    /// The mistakes, in the order of the file; none if it could not be read.
    pub fn problems(&self) -> &[Problem] {
        match self {
            ConfigError::Invalid(invalid) => &invalid.problems,
            ConfigError::Read { .. } | ConfigError::TooLarge { .. } => &[],
        }
    }
}

impl ConfigError {
    /// The file with its name, for a report of one of the [`problems`](ConfigError::problems); empty if it was not read.
    pub fn named_source(&self) -> NamedSource<String> {
        match self {
            ConfigError::Invalid(invalid) => invalid.source_code.clone(),
            ConfigError::Read { .. } | ConfigError::TooLarge { .. } => NamedSource::new("", String::new()),
        }
    }
}

/// A file with all its mistakes.
#[derive(Debug, thiserror::Error)]
#[error("{name} has {}", mistakes(problems.len()))]
pub struct Invalid {
    name: String,
    source_code: NamedSource<String>,
    problems: Vec<Problem>,
}

fn mistakes(count: usize) -> String {
    if count == 1 { "one mistake".to_owned() } else { format!("{count} mistakes") }
}

impl Invalid {
    /// The `problems` of `text`, which is called `name`.
    pub(super) fn new(name: &str, text: &str, mut problems: Vec<Problem>) -> Invalid {
        problems.sort_by_key(|problem| problem.span.start);
        for problem in &mut problems {
            problem.span = on_boundaries(text, &problem.span);
            problem.line = 1 + text.as_bytes()[..problem.span.start].iter().filter(|byte| **byte == b'\n').count();
        }
        Invalid { name: name.to_owned(), source_code: NamedSource::new(name, text.to_owned()), problems }
    }
}

/// A table's span may reach over the whole file: only its first line is worth showing.
fn on_boundaries(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(span.start);
    let end = text.ceil_char_boundary(span.end.max(start));
    let line_end = text[start..end].find('\n').map_or(end, |length| start + length);
    start..line_end
}

impl Diagnostic for Invalid {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source_code)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.problems.iter().map(|problem| problem as &dyn Diagnostic)))
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// What to do, where that is known.
    pub help: Option<String>,
    /// Where, as bytes of the file.
    pub span: Range<usize>,
    /// Where, as a line counted from 1.
    pub line: usize,
}

impl Problem {
    pub(super) fn new(span: Range<usize>, message: impl Into<String>) -> Problem {
        Problem { message: message.into(), help: None, span, line: 0 }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { f.write_str(&self.message) } else { write!(f, "line {}: {}", self.line, self.message) }
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::new_with_span(Some("here".to_owned()), self.span.clone());
        Some(Box::new(std::iter::once(label)))
    }
}
