//! What a budget means, for people to read. The only floating-point numbers of the statistics are here, and nothing that is published as a
//! figure is made from them.

use super::arithmetic::Rho;

/// ε of (ε, δ)-differential privacy at δ = 10⁻⁶ that follows from ρ: ρ + 2√(ρ ln 10⁶) (Bun and Steinke 2016, proposition 1.3).
pub fn epsilon(rho: Rho) -> f64 {
    let rho = f64::from(rho.0) / 1e6;
    rho + 2.0 * (rho * 1e6_f64.ln()).sqrt()
}

/// The most by which somebody who knows all but one contributor's sessions can be right more often than wrong about whether that
/// contributor is in: 2Φ(√(2ρ) / 2) − 1, 0 to 1. Right they are with a chance of (1 + this) / 2.
pub fn advantage(rho: Rho) -> f64 {
    let rho = f64::from(rho.0) / 1e6;
    erf((2.0 * rho).sqrt() / 2.0 / std::f64::consts::SQRT_2)
}

/// The error function, by its power series; for arguments from 0 to 3 right to more digits than anybody reads.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        let n = f64::from(n);
        term *= -x * x / n;
        sum += term / (2.0 * n + 1.0);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the method's description.
    #[test]
    fn budgets_mean_what_the_literature_says() {
        for (rho, eps, adv) in [
            (10_000, 0.75, 0.056),
            (20_000, 1.07, 0.080),
            (50_000, 1.71, 0.126),
            (60_000, 1.88, 0.138),
            (100_000, 2.45, 0.177),
            (360_000, 4.82, 0.329),
            (1_200_000, 9.34, 0.561),
        ] {
            assert!((epsilon(Rho(rho)) - eps).abs() < 0.01, "{rho}: {}", epsilon(Rho(rho)));
            assert!((advantage(Rho(rho)) - adv).abs() < 0.001, "{rho}: {}", advantage(Rho(rho)));
        }
    }
}
