//! What somebody who knows all published numbers can say of the withheld ones: whether each could as well be that much smaller, and that much
//! larger, by linear programming.
//!
//! A programme is asked whether there are numbers that fit all equations and are far enough from the truth in one of them; whatever it answers
//! with is a proof for every other number that is far enough from the truth in the same answer. So one programme settles many, and there is one for
//! each number only where none of the answers before has settled it.
//!
//! The programme is solved in floating point. It decides only what more is withheld, and no published number is made of it; where the solver
//! has no answer, the number counts as too narrow, and more is withheld. Published numbers are taken as exact here, though they are rounded:
//! nobody outside knows as much.

use microlp::{ComparisonOp, OptimizationDirection, Problem, SolveOutcome, Variable};

/// Programmes solved for one table. Beyond them nothing is released: what is not settled cannot be called safe. `docs/statistics.md` has what a
/// whole country needs.
pub(super) const MOST_PROGRAMMES: u32 = 10_000;
/// What the solver's tolerance may take away from how far a number reaches, relative to it.
const TOLERANCE: f64 = 1e-7;

/// There were [`MOST_PROGRAMMES`], and something is not settled yet.
#[derive(Debug)]
pub(super) struct OutOfProgrammes;

/// A number that is withheld, or several that only occur together.
pub(super) struct Unknown {
    /// It must be possible that it is as large; `None` if that is settled.
    pub(super) higher: Option<f64>,
    /// It must be possible that it is as small; `None` if that is settled.
    pub(super) lower: Option<f64>,
}

/// Unknown numbers and what is known of their sums.
pub(super) struct Programme {
    pub(super) unknowns: Vec<Unknown>,
    /// Of each equation the unknowns with their signs, and what they add up to.
    pub(super) equations: Vec<(Vec<(usize, f64)>, f64)>,
}

/// Which way numbers are looked at.
#[derive(Clone, Copy)]
enum Way {
    Up,
    Down,
}

impl Programme {
    /// Settles what it can, and returns the first unknown that cannot be as large or as small as it must be possible that it is. `left` programmes may
    /// be solved, and are counted down.
    pub(super) fn too_narrow(&mut self, left: &mut u32) -> Result<Option<usize>, OutOfProgrammes> {
        for way in [Way::Up, Way::Down] {
            // All that are not settled at once, as long as that settles any.
            loop {
                let open = self.open(way);
                if open.is_empty() {
                    break;
                }
                self.solve(way, &open, left)?;
                if self.open(way).len() == open.len() {
                    break;
                }
            }
            for unknown in self.open(way) {
                if self.wanted(way, unknown).is_some() {
                    self.solve(way, &[unknown], left)?;
                    if self.wanted(way, unknown).is_some() {
                        return Ok(Some(unknown));
                    }
                }
            }
        }
        Ok(None)
    }

    fn wanted(&self, way: Way, unknown: usize) -> Option<f64> {
        let unknown = self.unknowns.get(unknown)?;
        match way {
            Way::Up => unknown.higher,
            Way::Down => unknown.lower,
        }
    }

    fn open(&self, way: Way) -> Vec<usize> {
        (0..self.unknowns.len()).filter(|unknown| self.wanted(way, *unknown).is_some()).collect()
    }

    /// Looks for numbers in which `of` are together as large, or as small, as they are wanted, and no more: so there always is an answer, the truth
    /// being one.
    fn solve(&mut self, way: Way, of: &[usize], left: &mut u32) -> Result<(), OutOfProgrammes> {
        *left = left.checked_sub(1).ok_or(OutOfProgrammes)?;
        let mut problem = Problem::new(match way {
            Way::Up => OptimizationDirection::Maximize,
            Way::Down => OptimizationDirection::Minimize,
        });
        let mut sought = vec![false; self.unknowns.len()];
        of.iter().for_each(|unknown| sought[*unknown] = true);
        let variables: Vec<Variable> = (0..self.unknowns.len())
            .map(|unknown| match (self.wanted(way, unknown).filter(|_| sought[unknown]), way) {
                (Some(most), Way::Up) => problem.add_var(1.0, (0.0, most)),
                (Some(least), Way::Down) => problem.add_var(1.0, (least, f64::INFINITY)),
                (None, _) => problem.add_var(0.0, (0.0, f64::INFINITY)),
            })
            .collect();
        for (terms, sum) in &self.equations {
            let terms: Vec<(Variable, f64)> = terms.iter().map(|(unknown, sign)| (variables[*unknown], *sign)).collect();
            problem.add_constraint(&terms, ComparisonOp::Eq, *sum);
        }
        // No answer settles nothing.
        let Ok(SolveOutcome::Solution(solution)) = problem.solve() else { return Ok(()) };
        for (unknown, variable) in self.unknowns.iter_mut().zip(variables) {
            let could_be = solution.var_value(variable);
            unknown.higher = unknown.higher.filter(|wanted| could_be < wanted * (1.0 - TOLERANCE));
            unknown.lower = unknown.lower.filter(|wanted| could_be > wanted * (1.0 + TOLERANCE));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(value: f64) -> Unknown {
        Unknown { higher: Some(1.2 * value), lower: Some(0.8 * value) }
    }

    /// `a` + `b` = 10, of which `a` is 9.5 and `b` 0.5: `a` cannot be a fifth larger.
    fn narrow() -> Programme {
        Programme { unknowns: vec![unknown(9.5), unknown(0.5)], equations: vec![(vec![(0, 1.0), (1, 1.0)], 10.0)] }
    }

    #[test]
    fn what_cannot_be_a_fifth_larger_is_found() {
        let mut left = 100;
        assert_eq!(narrow().too_narrow(&mut left).unwrap(), Some(0));
        assert!(left < 100);
        let mut wide = Programme { unknowns: vec![unknown(6.0), unknown(4.0)], equations: vec![(vec![(0, 1.0), (1, 1.0)], 10.0)] };
        assert_eq!(wide.too_narrow(&mut left).unwrap(), None);
        assert!(wide.unknowns.iter().all(|unknown| unknown.higher.is_none() && unknown.lower.is_none()));
    }

    /// What nobody has settled is not called safe.
    #[test]
    fn without_programmes_left_there_is_no_answer() {
        assert!(narrow().too_narrow(&mut 0).is_err());
        assert!(narrow().too_narrow(&mut 1).is_err(), "one settles nothing here, and a second is not to be had");
    }

    /// Equations that nothing fits have no solution, and that is no answer.
    #[test]
    fn where_the_solver_has_no_answer_a_number_is_too_narrow() {
        let mut odd = Programme { unknowns: vec![unknown(6.0)], equations: vec![(vec![(0, 1.0)], 6.0), (vec![(0, 1.0)], 7.0)] };
        assert_eq!(odd.too_narrow(&mut 10).unwrap(), Some(0));
    }
}
