//! Prints what a policy does, field by field.
