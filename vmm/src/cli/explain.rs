//! `kubevmm explain` and `kubevmm schema`.

use super::Failure;
use super::args::Args;
use super::output::print;

/// Explains a field, or each of several.
pub(super) fn explain(args: &Args) -> Result<u8, Failure> {
    let fields = args.words()?;
    if fields.is_empty() {
        return Err(Failure::Usage(spec::ExplainError::Empty.to_string()));
    }
    let mut texts = Vec::new();
    for field in fields {
        let explanation = spec::explain(field).map_err(|error| Failure::Usage(error.to_string()))?;
        texts.push(explanation.to_string());
    }
    print(&texts.join("\n")).map(|()| 0)
}

/// Prints the JSON Schema of manifests.
pub(super) fn schema(args: &Args) -> Result<u8, Failure> {
    if let Some(word) = args.words()?.first() {
        return Err(Failure::Usage(format!("schema takes no {word:?}: it prints one schema for all kinds")));
    }
    print(&format!("{:#}\n", spec::schema())).map(|()| 0)
}
