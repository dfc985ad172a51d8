//! Ids that follow from what they name.

crate::define_id!(
    /// Names a package set: it follows from the set's hash.
    PackageSetId,
    "package set"
);
