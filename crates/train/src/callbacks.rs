//! Keras' callbacks, one file each. The trait that they implement is [`Callback`](crate::Callback).

mod early_stopping;
mod lambda_callback;
mod learning_rate_scheduler;
mod model_checkpoint;
mod monitor;
mod reduce_lr_on_plateau;

pub use early_stopping::EarlyStopping;
pub use lambda_callback::LambdaCallback;
pub use learning_rate_scheduler::LearningRateScheduler;
pub use model_checkpoint::ModelCheckpoint;
pub use monitor::Monitor;
pub use reduce_lr_on_plateau::ReduceLROnPlateau;
