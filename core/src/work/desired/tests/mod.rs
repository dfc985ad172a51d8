//! Tests of desired state.
