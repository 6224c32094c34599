//! `engraft inspect`: lists the contents of a model, weights or array file.

use std::path::{Path, PathBuf};

use engraft::OpenShape;
use engraft::formats::inspect::{ArrayInfo, Contents, LayerInfo, inspect};
use engraft::formats::keras;
use engraft::recipe::{ClassNames, Metadata};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::misplaced::check_model;
use crate::output::{line, note, thousands};

/// Maximum number of characters that are printed of a metadata text.
const SHOWN: usize = 200;

const EXAMPLES: &str = "\
Examples:
  engraft inspect model.keras
  engraft inspect weights.safetensors --json";

/// List the contents of a model or weights file: layers, arrays, classes, optimizer, and the program that wrote it
///
/// Reads .keras, .h5, .weights.h5, .safetensors, .onnx, .npy and .npz files of engraft, Keras and other programs.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// File to read, such as model.keras
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print one JSON object instead of tables, for scripts
    #[arg(long, help_heading = "Output")]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    check_model(&args.file, [])?;
    let mut contents = inspect(&args.file)?;
    if !contents.layers.is_empty()
        && let Some(metadata) = keras::read_extra(&args.file, Metadata::ENTRY)?
    {
        contents.texts.insert(Metadata::ENTRY.to_owned(), String::from_utf8_lossy(&metadata).into_owned());
    }
    let classes = Classes::of(&contents, &args.file)?;
    if args.json {
        return line(to_json(&contents, &classes));
    }
    line(to_text(&contents, &classes))?;
    contents.problems.iter().for_each(|problem| note(format_args!("warning: {problem}")));
    Ok(())
}

/// The class names of a model, and the file that they come from if it isn't the model's own.
#[derive(Default)]
struct Classes {
    names: Vec<String>,
    file: Option<PathBuf>,
}

impl Classes {
    /// Class names from the metadata of engraft or of an ONNX file, else from a file beside a Keras model.
    fn of(contents: &Contents, path: &Path) -> Result<Self, Failure> {
        let metadata = contents.texts.get(Metadata::ENTRY).and_then(|json| Metadata::from_json(json.as_bytes()).ok());
        let names = contents
            .texts
            .get("class_names")
            .and_then(|text| engraft::formats::json::parse("class_names", text.as_bytes()).ok());
        if let Some(names) = metadata.map(|metadata| metadata.classes).or(names) {
            return Ok(Self { names, file: None });
        }
        let beside = if contents.layers.is_empty() { None } else { ClassNames::beside(path)? };
        Ok(beside.map_or_else(Self::default, |found| Self { names: found.names, file: Some(found.file) }))
    }
}

fn to_json(contents: &Contents, classes: &Classes) -> Value {
    let layer = |layer: &LayerInfo| {
        let LayerInfo { name, class, output_shape, parameters, .. } = layer;
        json!({"name": name, "class": class, "output_shape": output_shape, "parameters": parameters})
    };
    let array = |array: &ArrayInfo| json!({"name": array.name, "shape": array.shape, "type": array.kind});
    json!({
        "format": contents.format,
        "written_by": contents.written_by,
        "opset": contents.opset,
        "classes": classes.names,
        "classes_file": classes.file,
        "optimizer": contents.optimizer,
        "parameters": contents.parameters(),
        "layers": contents.layers.iter().map(layer).collect::<Vec<_>>(),
        "arrays": contents.arrays.iter().map(array).collect::<Vec<_>>(),
        "metadata": contents.texts,
        "problems": contents.problems,
    })
}

fn to_text(contents: &Contents, classes: &Classes) -> String {
    let mut lines = vec![match &contents.written_by {
        Some(program) => format!("{}, written by {program}", contents.format),
        None => contents.format.clone(),
    }];
    if !classes.names.is_empty() {
        let file = classes.file.as_ref().map(|file| format!(" (in {})", file.display())).unwrap_or_default();
        lines.push(format!("classes{file}: {}", classes.names.join(", ")));
    }
    lines.extend(contents.opset.map(|version| format!("opset: {version}")));
    lines.extend(contents.optimizer.iter().map(|optimizer| format!("optimizer: {optimizer}")));
    for (name, text) in contents.texts.iter().filter(|(name, _)| *name != Metadata::ENTRY && *name != "class_names") {
        lines.push(format!("{name}: {}", text.chars().take(SHOWN).collect::<String>()));
    }
    let shape = |shape: &[usize]| format!("{shape:?}");
    let output = |shape: &OpenShape| {
        let size = |size: &Option<usize>| size.map_or("None".to_owned(), |size| size.to_string());
        format!("[{}]", shape.iter().map(size).collect::<Vec<_>>().join(", "))
    };
    let rows: Vec<[String; 4]> = match &contents.layers[..] {
        [] => {
            let row = |array: &ArrayInfo| {
                let numbers = thousands(array.count());
                [array.name.clone(), array.kind.clone(), shape(&array.shape), numbers]
            };
            contents.arrays.iter().map(row).collect()
        }
        layers => {
            let row = |layer: &LayerInfo| {
                let output = layer.output_shape.as_ref().map(output).unwrap_or_default();
                [layer.name.clone(), layer.class.clone(), output, layer.parameters.map(thousands).unwrap_or_default()]
            };
            layers.iter().map(row).collect()
        }
    };
    let titles = if contents.layers.is_empty() {
        ["array", "type", "shape", "numbers"]
    } else {
        ["layer", "class", "output", "parameters"]
    };
    lines.push(String::new());
    lines.extend(table(&titles.map(str::to_owned), &rows));
    lines.push(String::new());
    lines.push(format!("{} parameters in {} arrays", thousands(contents.parameters()), contents.weights().count()));
    lines.join("\n")
}

/// Formats a table. Each column is as wide as its widest cell; the last is right-aligned.
fn table(titles: &[String; 4], rows: &[[String; 4]]) -> Vec<String> {
    let all = || std::iter::once(titles).chain(rows);
    let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [a, b, c, d] = [width(0), width(1), width(2), width(3)];
    all().map(|[name, kind, shape, number]| format!("  {name:a$}  {kind:b$}  {shape:c$}  {number:>d$}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let titles = ["a", "bb", "c", "number"].map(str::to_owned);
        let rows = [["long name", "b", "[1]", "1,000"].map(str::to_owned)];
        assert_eq!(table(&titles, &rows), ["  a          bb  c    number", "  long name  b   [1]   1,000"]);
    }
}
