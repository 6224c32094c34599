//! Options shared by the layers with a kernel: `Dense` and the convolutions.

/// Defines the options for activation, bias, initializers, regularizers and constraints, and the specifications of kernel and bias.
macro_rules! kernel_options {
    ($name:ident) => {
        output_options!($name);

        impl $name {
            /// Sets the initializer of the kernel; Glorot uniform by default.
            #[must_use]
            pub fn kernel_initializer(mut self, initializer: Initializer) -> Self {
                self.kernel_initializer = initializer;
                self
            }

            /// Sets the initializer of the bias; zeros by default.
            #[must_use]
            pub fn bias_initializer(mut self, initializer: Initializer) -> Self {
                self.bias_initializer = initializer;
                self
            }

            /// Sets the penalty on the kernel; none by default.
            #[must_use]
            pub fn kernel_regularizer(mut self, regularizer: Regularizer) -> Self {
                self.kernel_regularizer = Some(regularizer);
                self
            }

            /// Sets the penalty on the bias; none by default.
            #[must_use]
            pub fn bias_regularizer(mut self, regularizer: Regularizer) -> Self {
                self.bias_regularizer = Some(regularizer);
                self
            }

            /// Sets the constraint on the kernel; none by default.
            #[must_use]
            pub fn kernel_constraint(mut self, constraint: Constraint) -> Self {
                self.kernel_constraint = Some(constraint);
                self
            }

            /// Sets the constraint on the bias; none by default.
            #[must_use]
            pub fn bias_constraint(mut self, constraint: Constraint) -> Self {
                self.bias_constraint = Some(constraint);
                self
            }

            /// Specifications of a kernel of this shape and, with `use_bias`, of a bias as long as the kernel's last axis.
            fn kernel_and_bias(&self, shape: Vec<usize>) -> Vec<WeightSpec> {
                let outputs = shape.last().copied().unwrap_or(0);
                let kernel = WeightSpec {
                    name: "kernel".into(),
                    shape,
                    initializer: self.kernel_initializer.clone(),
                    trainable: true,
                    regularizer: self.kernel_regularizer.clone(),
                    constraint: self.kernel_constraint.clone(),
                };
                let bias = self.use_bias.then(|| WeightSpec {
                    name: "bias".into(),
                    shape: vec![outputs],
                    initializer: self.bias_initializer.clone(),
                    trainable: true,
                    regularizer: self.bias_regularizer.clone(),
                    constraint: self.bias_constraint.clone(),
                });
                std::iter::once(kernel).chain(bias).collect()
            }
        }
    };
}

/// Defines the options `activation` and `use_bias`, which every layer with a kernel has.
macro_rules! output_options {
    ($name:ident) => {
        impl $name {
            /// Sets the activation function of the result; linear by default.
            #[must_use]
            pub fn activation(mut self, activation: ActivationFn) -> Self {
                self.activation = activation;
                self
            }

            /// Sets whether a bias is added; true by default.
            #[must_use]
            pub fn use_bias(mut self, use_bias: bool) -> Self {
                self.use_bias = use_bias;
                self
            }
        }
    };
}

/// Defines the options of every convolution for its windows: strides and padding.
macro_rules! window_options {
    ($name:ident) => {
        impl $name {
            /// Sets the distance between windows, in pixels; 1 by default.
            #[must_use]
            pub fn strides(mut self, strides: impl Into<Size2d>) -> Self {
                self.strides = strides.into();
                self
            }

            /// Sets the padding at the edges; [`Padding::Valid`] by default.
            #[must_use]
            pub fn padding(mut self, padding: Padding) -> Self {
                self.padding = padding;
                self
            }

            /// Output size and leading padding along both axes, for images of this size.
            fn windows(&self, height: usize, width: usize) -> Result<[(usize, usize); 2]> {
                let (size, strides, dilation) = (self.kernel_size, self.strides, self.dilation_rate);
                $crate::layers::options::conv_windows([height, width], size, strides, dilation, self.padding)
            }
        }
    };
}
pub(super) use {kernel_options, output_options, window_options};
