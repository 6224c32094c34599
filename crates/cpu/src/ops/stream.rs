//! Row-streamed pairs of convolutions: the second reads rows of the first's output while they are still in the cache.
//!
//! The plan's pass `stream_rows` decides which pairs run like this, and how many rows at a time.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::{StepCall, conv2d};
use crate::workspace::Workspace;

/// Computes two convolutions image by image, `rows` output rows of the second at a time, and returns the duration of each.
///
/// If the second convolution has a fused pooling, `rows` counts its output rows before the pooling. `window` is the buffer
/// between the two convolutions. It holds the output rows of the first that the second reads to compute `rows` rows.
pub(crate) fn forward(
    [first, second]: [&StepCall<'_>; 2],
    rows: usize,
    x: &[f32],
    window: &mut [f32],
    y: &mut [f32],
    workspace: &mut Workspace,
) -> [Duration; 2] {
    let samples = second.samples;
    let images = x.chunks_exact(x.len() / samples).zip(y.chunks_exact_mut(y.len() / samples));
    let mut times = [Duration::ZERO; 2];
    for (x, y) in images {
        forward_image([first, second], rows, x, window, y, workspace, &mut times);
    }
    times
}

fn forward_image(
    [first, second]: [&StepCall<'_>; 2],
    rows: usize,
    x: &[f32],
    window: &mut [f32],
    mut y: &mut [f32],
    workspace: &mut Workspace,
    times: &mut [Duration; 2],
) {
    let (first_conv, second_conv) =
        (conv2d::single_sample_convolution(first), conv2d::single_sample_convolution(second));
    let (x_row, row) = (row_len(first), row_len(second));
    let elements = |rows: &Range<usize>, row: usize| rows.start * row..rows.end * row;
    // Output rows of the first convolution that are in `window`.
    let mut buffered = 0..0;
    let height = second_conv.out_h();
    for start in (0..height).step_by(rows) {
        let began = Instant::now();
        let (second_rows, required) = second_conv.rows(start..height.min(start + rows));
        // Consecutive blocks of output rows read some of the same rows in `window`. The first convolution computes these rows
        // once; they are then moved to the front of `window`.
        let reused = required.start.min(buffered.end)..buffered.end;
        window.copy_within(elements(&(reused.start - buffered.start..buffered.end - buffered.start), row), 0);
        buffered = required.start..required.end.max(reused.end);
        if reused.end.max(required.start) < required.end {
            let (first_rows, x_rows) = first_conv.rows(reused.end.max(required.start)..required.end);
            let new = &mut window[reused.len() * row..buffered.len() * row];
            conv2d::apply(&first_rows, first, &x[elements(&x_rows, x_row)], new, workspace);
        }
        times[0] += began.elapsed();
        let began = Instant::now();
        let (new, rest) = y.split_at_mut(second_rows.output_len());
        conv2d::apply(&second_rows, second, &window[..required.len() * row], new, workspace);
        y = rest;
        times[1] += began.elapsed();
    }
}

/// Length of one image row of the step's input: its width times its channels.
fn row_len(call: &StepCall<'_>) -> usize {
    let [_, width, channels] = StepCall::image(call.inputs[0]);
    width * channels
}

#[cfg(test)]
mod tests {
    use engraft_nn::prelude::*;
    use engraft_plan::{Plan, PlanOptions};

    use super::*;
    use crate::workspace::KernelCachePolicy;

    /// Computes the first convolution for all rows, then the second.
    fn forward_unstreamed(
        calls: &[StepCall<'_>; 2],
        x: &[f32],
        intermediate: &mut [f32],
        y: &mut [f32],
        workspace: &mut Workspace,
    ) {
        conv2d::forward(&calls[0], x, intermediate, workspace);
        conv2d::forward(&calls[1], intermediate, y, workspace);
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
            let options = PlanOptions { fuses_activation: |_, _| true, ..PlanOptions::default() };
            let plan = Plan::predict(&model, 2, &options).unwrap();
            let program = plan.program();
            let calls = [0, 1].map(|step| StepCall::of_program(program, &program.steps[step], 2));
            let lengths = calls.iter().map(|call| super::super::scratch_len(call, KernelCachePolicy::Off, false));
            let scratch = lengths.max().unwrap();
            let mut workspace = Workspace::new(scratch, KernelCachePolicy::Off).unwrap();
            workspace.begin_run(2);
            let x: Vec<f32> = (0..2 * program.size(0)).map(|i| (i * 7 % 23) as f32 - 11.0).collect();
            let [mut intermediate, mut y, mut streamed] =
                [1, 2, 2].map(|value| vec![f32::NAN; 2 * program.size(program.steps[value - 1].output)]);
            forward_unstreamed(&calls, &x, &mut intermediate, &mut y, &mut workspace);
            for rows in [8, 16, 64] {
                intermediate.fill(f32::NAN);
                streamed.fill(f32::NAN);
                forward([&calls[0], &calls[1]], rows, &x, &mut intermediate, &mut streamed, &mut workspace);
                assert!(streamed == y, "pair {index}, {rows} rows");
            }
        }
    }
}
