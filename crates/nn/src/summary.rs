//! Keras' `summary()`: a model's layers as a table, and the totals of its parameters.

mod table;

use std::collections::HashMap;
use std::fmt;

use crate::graph::SymbolicTensor;
use crate::layer::Layer;
use crate::layers::ListOutput;
use crate::naming::python_class;
use crate::{Model, OpenShape, OpenShapes, Weight};
use table::{Align, Column, Table};

/// A model's layers, output shapes and parameter counts as text, as Keras prints them; see [`Model::summary`].
///
/// The totals use the layers' `trainable` flags at the time of printing. Keras fits the table to the terminal's width; here
/// [`line_length`](Self::line_length) sets it.
///
/// ```
/// use engraft_nn::prelude::*;
/// let model = Sequential::with_name("head").add(Input::new([4])).add(Dense::new(2).named("top")).build()?;
/// assert_eq!(model.summary().line_length(50).to_string(), "\
/// Model: \"head\"
/// ┏━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━┳━━━━━━━━━┓
/// ┃ Layer (type)        ┃ Output Shape   ┃ Param # ┃
/// ┡━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━╇━━━━━━━━━┩
/// │ top (Dense)         │ (None, 2)      │      10 │
/// └─────────────────────┴────────────────┴─────────┘
///  Total params: 10 (40.00 B)
///  Trainable params: 10 (40.00 B)
///  Non-trainable params: 0 (0.00 B)");
/// # Ok::<(), engraft_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Summary<'a> {
    model: &'a Model,
    line_length: Option<usize>,
    expand_nested: bool,
    show_trainable: bool,
}

impl<'a> Summary<'a> {
    pub(crate) fn new(model: &'a Model) -> Self {
        Self { model, line_length: None, expand_nested: false, show_trainable: false }
    }

    /// Also shows the layers inside nested models; false by default.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let head = Sequential::with_name("head").add(Dense::new(2).named("scores"));
    /// let model = Sequential::new().add(Input::new([4])).add(head).build()?;
    /// assert!(!model.summary().to_string().contains("scores (Dense)"));
    /// assert!(model.summary().expand_nested(true).to_string().contains("└ scores (Dense)"));
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    #[must_use]
    pub fn expand_nested(mut self, expand: bool) -> Self {
        self.expand_nested = expand;
        self
    }

    /// Also shows whether each layer with weights is trainable, `Y` or `N`; false by default.
    ///
    /// ```
    /// use engraft_nn::prelude::*;
    /// let model = Sequential::new().add(Input::new([4])).add(Dense::new(2)).build()?;
    /// model.layers()[0].set_trainable(false);
    /// let text = model.summary().show_trainable(true).to_string();
    /// let row = text.lines().find(|line| line.contains("(Dense)")).expect("a row for the layer");
    /// assert!(row.contains(" N "), "{row}");
    /// # Ok::<(), engraft_nn::Error>(())
    /// ```
    #[must_use]
    pub fn show_trainable(mut self, show: bool) -> Self {
        self.show_trainable = show;
        self
    }

    /// Sets the width of the table in characters, at most 1000. A width too small for the columns is increased.
    ///
    /// The default is Keras': 88, or 108 if the model isn't a chain and the table shows connections. The column of trainable
    /// flags adds 12 to the default.
    #[must_use]
    pub fn line_length(mut self, characters: usize) -> Self {
        self.line_length = Some(characters);
        self
    }

    /// The columns with Keras' shares of the line. The column of trainable flags takes a tenth of every other column's share.
    fn empty_table(&self, chain: bool) -> Table {
        let (default_length, ends) = match chain {
            true => (88, &[0.45, 0.80, 1.0][..]),
            false => (108, &[0.3, 0.56, 0.74, 1.0][..]),
        };
        let titles = [
            ("Layer (type)", Align::Left),
            ("Output Shape", Align::Left),
            ("Param #", Align::Right),
            ("Connected to", Align::Left),
        ];
        let scale = if self.show_trainable { 0.90 } else { 1.0 };
        let mut columns: Vec<Column> =
            titles.iter().zip(ends).map(|(&(title, align), end)| Column { title, end: end * scale, align }).collect();
        if self.show_trainable {
            columns.push(Column { title: "Trainable", end: 1.0, align: Align::Centre });
        }
        let default_length = default_length + if self.show_trainable { 12 } else { 0 };
        Table::new(columns, self.line_length.unwrap_or(default_length))
    }

    fn table(&self) -> Table {
        let graph = self.model.graph();
        let chain = self.model.is_sequential() || graph.is_chain();
        let mut table = self.empty_table(chain);
        let mut calls = Calls::new();
        graph.calls().iter().for_each(|call| calls.entry(call.layer().id()).or_default().push(call));
        // Keras shows the operations of the outermost model, but not those of nested models.
        let layers = if self.model.is_sequential() { self.model.layers() } else { graph.layers().to_vec() };
        let shapes = Shapes { calls: &calls, open: OpenShapes::of(self.model) };
        for layer in layers {
            // Keras doesn't show the tensors of a list, but the operation that returns it.
            if layer.def_as::<ListOutput>().is_none() {
                self.push_layer(&mut table, &layer, 0, &shapes, (!chain).then_some(&calls));
            }
        }
        table
    }

    /// Adds a row for the layer and, with `expand_nested`, rows for the layers inside it.
    fn push_layer(
        &self,
        table: &mut Table,
        layer: &Layer,
        depth: usize,
        shapes: &Shapes<'_>,
        calls: Option<&Calls<'_>>,
    ) {
        let prefix = if depth == 0 { String::new() } else { format!("{}└ ", "   ".repeat(depth)) };
        let name = format!("{prefix}{} ({})", layer.name(), python_class(layer.class_name()));
        let mut row = vec![name, shapes.text(layer), params(layer)];
        row.extend(calls.map(|calls| connections(layer, calls)));
        if self.show_trainable {
            row.push(trainable(layer).to_owned());
        }
        table.push(row);
        if self.expand_nested {
            layer.layers().iter().for_each(|layer| self.push_layer(table, layer, depth + 1, shapes, calls));
        }
    }

    /// Size of the optimizer's state; `None` for a model that isn't compiled, and before the first training step.
    fn optimizer_total(&self) -> Option<Total> {
        let compiled = self.model.compiled();
        let state = &compiled.as_ref()?.state;
        if state.iterations() == 0 && state.slots().is_empty() {
            return None;
        }
        let slots: usize = state.slots().values().flatten().map(Vec::len).sum();
        // Keras also counts the iterations, a 64-bit integer, and the learning rate.
        Some(Total { count: slots + 2, bytes: 4 * slots + 8 + 4 })
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Model: \"{}\"", self.model.name())?;
        self.table().fmt(f)?;
        let trainable = Total::of_weights(&self.model.trainable_weights());
        let weights = Total::of_weights(&self.model.weights());
        let frozen = Total { count: weights.count - trainable.count, bytes: weights.bytes - trainable.bytes };
        let optimizer = self.optimizer_total();
        let state = optimizer.unwrap_or_default();
        let total = Total { count: weights.count + state.count, bytes: weights.bytes + state.bytes };
        write!(f, " Total params: {total}\n Trainable params: {trainable}\n Non-trainable params: {frozen}")?;
        match optimizer {
            Some(optimizer) => write!(f, "\n Optimizer params: {optimizer}"),
            None => Ok(()),
        }
    }
}

/// The calls of each layer, by the layer's id.
type Calls<'a> = HashMap<usize, Vec<&'a SymbolicTensor>>;

/// The output shapes of the layers of a model.
struct Shapes<'a> {
    /// The calls of the outermost model.
    calls: &'a Calls<'a>,
    open: OpenShapes,
}

impl Shapes<'_> {
    /// Output shape of the layer's last call in the outermost model, else in the model that it is in, such as `(None, 8, 8, 4)`.
    fn text(&self, layer: &Layer) -> String {
        let last = self.calls.get(&layer.id()).and_then(|calls| calls.last());
        let Some(shape) = last.map(|call| self.open.of_call(call)).or_else(|| self.open.of_layer(layer)) else {
            return "?".into();
        };
        let list: Option<Vec<String>> = self.open.of_list(layer).map(|shapes| shapes.iter().map(batch_shape).collect());
        match list.as_deref() {
            None => batch_shape(&shape),
            Some([single]) => single.clone(),
            Some(several) => format!("[{}]", several.join(", ")),
        }
    }
}

fn batch_shape(shape: &OpenShape) -> String {
    let size = |size: &Option<usize>| size.map_or("None".to_owned(), |size| size.to_string());
    let axes: Vec<String> = std::iter::once("None".into()).chain(shape.iter().map(size)).collect();
    format!("({})", axes.join(", "))
}

fn params(layer: &Layer) -> String {
    match layer.output_shape() {
        Some(_) => thousands(layer.count_params()),
        None => "0 (unbuilt)".into(),
    }
}

fn trainable(layer: &Layer) -> &'static str {
    match (layer.weights().is_empty(), layer.trainable()) {
        (true, _) => "-",
        (false, true) => "Y",
        (false, false) => "N",
    }
}

/// The inputs of the layer's calls in this model. `name[n][i]` is output i of call n of the layer `name`.
fn connections(layer: &Layer, calls: &Calls<'_>) -> String {
    let of = |layer: &Layer| calls.get(&layer.id()).map_or(&[][..], Vec::as_slice);
    let sources: Vec<String> = of(layer)
        .iter()
        .flat_map(|call| call.inputs())
        .map(|input| {
            let (source, output) = input.history();
            let node = of(source.layer()).iter().position(|call| call.id() == source.id()).unwrap_or(0);
            format!("{}[{node}][{output}]", source.layer().name())
        })
        .collect();
    if sources.is_empty() { "-".into() } else { sources.join(", ") }
}

/// A number of parameters and their size in bytes.
#[derive(Clone, Copy, Default)]
struct Total {
    count: usize,
    bytes: usize,
}

impl Total {
    fn of_weights(weights: &[Weight]) -> Self {
        // A Normalization counts its batches in a 64-bit integer.
        let bytes = |weight: &Weight| match (weight.name(), weight.shape()) {
            ("count", []) => size_of::<i64>(),
            _ => weight.count() * size_of::<f32>(),
        };
        Self { count: weights.iter().map(Weight::count).sum(), bytes: weights.iter().map(bytes).sum() }
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut size = self.bytes as f64;
        let mut units = ["B", "KB", "MB", "GB", "TB"].into_iter();
        let mut unit = units.next();
        while size >= 1024.0 {
            size /= 1024.0;
            unit = units.next();
        }
        write!(f, "{} ({size:.2} {})", thousands(self.count), unit.unwrap_or("PB"))
    }
}

fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::GroupQueryAttention;
    use crate::prelude::*;

    /// A model with branches, a layer called twice and a nested model.
    fn branches() -> Model {
        let x = Input::named("input_layer", [8, 8, 3]);
        let left = Conv2D::new(4, 3).padding(Padding::Same).named("left");
        let right = Conv2D::new(4, 3).padding(Padding::Same).named("a_rather_long_name_for_a_convolution");
        left.set_trainable(false);
        let y = Add::new().named("sum").call([&left.call(&x).unwrap(), &right.call(&x).unwrap()]).unwrap();
        let y = BatchNormalization::new().named("norm").call(&y).unwrap();
        let y = GlobalAveragePooling2D::new().named("pool").call(&y).unwrap();
        let shared = Dense::new(4).named("shared");
        let y = shared.call(&shared.call(&y).unwrap()).unwrap();
        let inner =
            Sequential::with_name("inner").add(Dense::new(2).named("inner_dense")).add(Dropout::new(0.5).named("drop"));
        Model::named("branches", &x, &inner.call(&y).unwrap()).unwrap()
    }

    #[test]
    fn a_model_with_branches_shows_what_is_connected() {
        let expected = include_str!("summary/branches.txt");
        let model = branches();
        let summary = model.summary().expand_nested(true);
        let printed = [summary.clone(), summary.clone().line_length(60).show_trainable(true)];
        assert_eq!(printed.map(|summary| summary.to_string() + "\n").concat(), expected);
    }

    #[test]
    fn the_optimizer_counts_from_its_first_step() {
        let model = Sequential::new().add(Input::new([3])).add(Dense::new(2)).build().unwrap();
        model.compile(Adam::new(1e-3), Loss::binary_crossentropy(), []).unwrap();
        assert!(!model.summary().to_string().contains("Optimizer"));
        let state = model.compiled().unwrap().state;
        state.set_iterations(1);
        for weight in model.weights() {
            state.update_slots(|slots| slots.insert(weight.id(), vec![vec![0.0; weight.count()]; 2]));
        }
        // Keras 3.15 prints these totals for this model after one step.
        let totals = " Total params: 26 (108.00 B)
 Trainable params: 8 (32.00 B)
 Non-trainable params: 0 (0.00 B)
 Optimizer params: 18 (76.00 B)";
        assert!(model.summary().to_string().ends_with(totals), "{}", model.summary());
    }

    #[test]
    fn counts_follow_the_flags_of_the_moment() {
        let model = branches();
        assert!(model.summary().to_string().contains(" Trainable params: 150 (600.00 B)"));
        model.set_trainable(false);
        assert!(model.summary().to_string().contains(" Trainable params: 0 (0.00 B)"));
    }

    #[test]
    fn a_class_has_its_name_in_the_source_of_keras() {
        let x = Input::new([5, 6]);
        let y = GroupQueryAttention::new(3, 4, 2).named("a").call([&x, &x]).unwrap();
        let text = Model::new(&x, &y).unwrap().summary().to_string();
        assert!(text.contains("│ a (GroupedQueryAttention)"), "{text}");
    }

    #[test]
    fn an_unbuilt_layer_says_so() {
        let layer = Dense::new(2).into_layer();
        let shapes = Shapes { calls: &Calls::new(), open: OpenShapes::default() };
        assert_eq!([shapes.text(&layer), params(&layer)], ["?", "0 (unbuilt)"]);
    }

    #[test]
    fn sizes_are_in_units_of_1024() {
        let text = |count| Total { count, bytes: 4 * count }.to_string();
        assert_eq!(text(0), "0 (0.00 B)");
        assert_eq!(text(1000), "1,000 (3.91 KB)");
        assert_eq!(text(165_738_309), "165,738,309 (632.24 MB)");
    }
}
