//! compile, fit, evaluate and predict; callbacks and History.
