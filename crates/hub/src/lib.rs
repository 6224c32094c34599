//! Finds, downloads and verifies pretrained weight files.
