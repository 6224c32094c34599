//! Two convolutions of which the second uses rows of the first's outputs while they are in the cache.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::{StepCall, conv2d};
use crate::workspace::Workspace;

/// Makes the outputs of the second of two convolutions, image by image, `rows` rows at a time (before pooling). Of the first's
/// outputs, `between` holds those that the second reads for so many. Gives the time that each took.
pub(crate) fn forward(
    [first, second]: [&StepCall<'_>; 2],
    rows: usize,
    x: &[f32],
    between: &mut [f32],
    y: &mut [f32],
    workspace: &mut Workspace,
) -> [Duration; 2] {
    let samples = second.samples;
    let images = x.chunks_exact(x.len() / samples).zip(y.chunks_exact_mut(y.len() / samples));
    let mut times = [Duration::ZERO; 2];
    for (x, y) in images {
        image([first, second], rows, x, between, y, workspace, &mut times);
    }
    times
}

fn image(
    [first, second]: [&StepCall<'_>; 2],
    rows: usize,
    x: &[f32],
    between: &mut [f32],
    mut y: &mut [f32],
    workspace: &mut Workspace,
    times: &mut [Duration; 2],
) {
    let (to_between, to_y) = (conv2d::of_one(first), conv2d::of_one(second));
    let (x_row, row) = (row_len(first), row_len(second));
    let part = |rows: &Range<usize>, row: usize| rows.start * row..rows.end * row;
    // Rows of the first's outputs that are held.
    let mut held = 0..0;
    let height = to_y.out_h();
    for start in (0..height).step_by(rows) {
        let began = Instant::now();
        let (to_y, wanted) = to_y.rows(start..height.min(start + rows));
        // Some rows are read for these outputs and for those before.
        let kept = wanted.start.min(held.end)..held.end;
        between.copy_within(part(&(kept.start - held.start..held.end - held.start), row), 0);
        held = wanted.start..wanted.end.max(kept.end);
        if kept.end.max(wanted.start) < wanted.end {
            let (to_between, reads) = to_between.rows(kept.end.max(wanted.start)..wanted.end);
            let made = &mut between[kept.len() * row..held.len() * row];
            conv2d::apply(&to_between, first, &x[part(&reads, x_row)], made, workspace);
        }
        times[0] += began.elapsed();
        let began = Instant::now();
        let (made, rest) = y.split_at_mut(to_y.output_len());
        conv2d::apply(&to_y, second, &between[..wanted.len() * row], made, workspace);
        y = rest;
        times[1] += began.elapsed();
    }
}

/// Values of a row of what a step reads.
fn row_len(call: &StepCall<'_>) -> usize {
    let [_, width, channels] = StepCall::image(call.inputs[0]);
    width * channels
}

#[cfg(test)]
mod tests {
    use engraft_nn::Program;
    use engraft_nn::prelude::*;

    use super::*;
    use crate::workspace::Keeps;

    /// In the order of the steps, both as a whole.
    fn wholes(calls: &[StepCall<'_>; 2], x: &[f32], between: &mut [f32], y: &mut [f32], workspace: &mut Workspace) {
        conv2d::forward(&calls[0], x, between, workspace);
        conv2d::forward(&calls[1], between, y, workspace);
    }

    #[test]
    fn streamed_rows_give_the_bits_of_the_whole() {
        let convs = [
            (Conv2D::new(9, 3).padding(Padding::Same), Conv2D::new(10, 3).padding(Padding::Same).activation(Relu)),
            (Conv2D::new(8, 5).strides(2).activation(Relu), Conv2D::new(9, 3)),
            (Conv2D::new(8, 3), Conv2D::new(9, 5).strides(3).padding(Padding::Same)),
            (Conv2D::new(8, 1), Conv2D::new(9, 1).strides(2)),
            (Conv2D::new(12, 3), Conv2D::new(9, 3).dilation_rate(4).padding(Padding::Same)),
        ];
        for (index, (first, second)) in convs.into_iter().enumerate() {
            let input = Input::new([43, 22, 3]);
            let model = Model::new(&input, &second.call(&first.call(&input).unwrap()).unwrap()).unwrap();
            let program = Program::of(&model, false, 0).unwrap();
            let calls = [0, 1].map(|step| StepCall::of_program(&program, &program.steps[step], 2));
            let scratch = calls.iter().map(|call| super::super::scratch_len(call, Keeps::Nothing)).max().unwrap();
            let mut workspace = Workspace::new(scratch, Keeps::Nothing).unwrap();
            workspace.begin_run(2);
            let x: Vec<f32> = (0..2 * program.size(0)).map(|i| (i * 7 % 23) as f32 - 11.0).collect();
            let [mut between, mut y, mut again] =
                [1, 2, 2].map(|value| vec![f32::NAN; 2 * program.size(program.steps[value - 1].output)]);
            wholes(&calls, &x, &mut between, &mut y, &mut workspace);
            for rows in [8, 16, 64] {
                between.fill(f32::NAN);
                again.fill(f32::NAN);
                forward([&calls[0], &calls[1]], rows, &x, &mut between, &mut again, &mut workspace);
                assert!(again == y, "pair {index}, {rows} rows");
            }
        }
    }
}
