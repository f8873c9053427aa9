//! `kubevmm explain` and `kubevmm schema`.

use super::Failure;
use super::args::Args;
use super::output::{Format, print, yaml_document};

/// Explains a field, or each of several.
pub(super) fn explain(args: &Args) -> Result<u8, Failure> {
    let fields = args.words()?;
    if fields.is_empty() {
        return Err(Failure::Usage(spec::ExplainError::Empty.to_string()));
    }
    let format = Format::of(args)?;
    let mut texts = Vec::new();
    for field in fields {
        let explanation = spec::explain(field).map_err(|error| Failure::Usage(error.to_string()))?;
        texts.push(match format {
            Format::Text => explanation.to_string(),
            Format::Json => format!("{}\n", explanation.json()),
            Format::Yaml => yaml_document(&explanation.json()),
        });
    }
    print(&texts.join(if format == Format::Text { "\n" } else { "" })).map(|()| 0)
}

/// Prints the JSON Schema of manifests.
pub(super) fn schema(args: &Args) -> Result<u8, Failure> {
    if let Some(word) = args.words()?.first() {
        return Err(Failure::Usage(format!("schema takes no {word:?}: it prints one schema for all kinds")));
    }
    print(&format!("{:#}\n", spec::schema())).map(|()| 0)
}
