//! Integration tests: filled by the harness.
