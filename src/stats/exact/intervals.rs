//! What somebody who knows all published numbers can say of the withheld ones: for each the least and the most that fits, by linear programming.
//!
//! The programme is solved in floating point. It decides only what more is withheld, and no published number is made of it; where the solver
//! has no answer, the number counts as too narrow, and more is withheld. Published numbers are taken as exact here, though they are rounded:
//! nobody outside knows as much.

use super::Relation;
use microlp::{ComparisonOp, OptimizationDirection, Problem, SolveOutcome, Variable};
use std::collections::BTreeMap;

/// Whether the interval of `node` does not reach `percent` of its value beyond it on both sides. It is one of `group`: withheld numbers that
/// `relations` tie together. `value` has all numbers, the withheld ones too.
pub(super) fn is_too_narrow(node: usize, group: &[usize], relations: &[&Relation], value: &dyn Fn(usize) -> u64, percent: u32) -> bool {
    let exact = value(node);
    if exact == 0 {
        return false;
    }
    let reach = exact as f64 * f64::from(percent) / 100.0;
    // A millionth of it less: what the solver's tolerance may take away.
    let is_wide =
        |direction| bound(node, group, relations, value, direction).is_some_and(|bound| (bound - exact as f64).abs() >= reach * 0.999_999);
    !is_wide(OptimizationDirection::Minimize) || !is_wide(OptimizationDirection::Maximize)
}

/// The least or the most that a number can be; infinite if nothing bounds it, `None` if the solver has no answer.
fn bound(
    node: usize,
    group: &[usize],
    relations: &[&Relation],
    value: &dyn Fn(usize) -> u64,
    direction: OptimizationDirection,
) -> Option<f64> {
    let mut problem = Problem::new(direction);
    let variables: BTreeMap<usize, Variable> =
        group.iter().map(|of| (*of, problem.add_var(if *of == node { 1.0 } else { 0.0 }, (0.0, f64::INFINITY)))).collect();
    for (total, parts) in relations {
        // The total less its parts is zero: what is published goes to the right.
        let mut left = Vec::new();
        let mut right: i128 = 0;
        for (of, sign) in parts.iter().map(|part| (part, -1_i8)).chain([(total, 1)]) {
            match variables.get(of) {
                Some(variable) => left.push((*variable, f64::from(sign))),
                None => right -= i128::from(sign) * i128::from(value(*of)),
            }
        }
        if !left.is_empty() {
            problem.add_constraint(&left, ComparisonOp::Eq, right as f64);
        }
    }
    match problem.solve() {
        Ok(SolveOutcome::Solution(solution)) => Some(solution.objective()),
        Err(microlp::Error::Unbounded) => Some(f64::INFINITY),
        Ok(SolveOutcome::Interrupted(_)) | Err(_) => None,
    }
}
