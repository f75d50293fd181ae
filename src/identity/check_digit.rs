//! The check digit of a contract number (eMI3, "Check digit calculation for Contract-IDs"; ISO 15118-2 annex H): a weighted sum over
//! 2-vectors modulo 2 and modulo 3, which catches single errors, twin errors and transpositions.

/// The digits in their order: the place of each is its value.
const DIGITS: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// The check digit of a contract number of 14 upper-case alphanumerics; `None` if the text holds anything else.
pub(super) fn check_digit(contract: &str) -> Option<char> {
    let (mut even, mut odd) = ([0, 0], [0, 0]);
    let (mut p1, mut p2) = (P1, P2);
    for byte in contract.bytes() {
        let value = DIGITS.iter().position(|&digit| digit == byte)?;
        even = add(even, times([value / 18, value / 9 % 2], p1), 2);
        odd = add(odd, times([value % 9 / 3, value % 3], p2), 3);
        (p1, p2) = (step(p1, P1, 2), step(p2, P2, 3));
    }
    // P1 has order 3, so after fourteen digits only the odd half needs solving: times -(P2 to the power -15).
    let odd = times(odd, [[0, 2], [2, 1]]).map(|n| n % 3);
    DIGITS.get(even[0] * 18 + even[1] * 9 + odd[0] * 3 + odd[1]).map(|&digit| char::from(digit))
}

type Matrix = [[usize; 2]; 2];
const P1: Matrix = [[0, 1], [1, 1]];
const P2: Matrix = [[0, 1], [1, 2]];

fn times(row: [usize; 2], by: Matrix) -> [usize; 2] {
    [row[0] * by[0][0] + row[1] * by[1][0], row[0] * by[0][1] + row[1] * by[1][1]]
}

fn step(power: Matrix, by: Matrix, modulus: usize) -> Matrix {
    power.map(|row| times(row, by).map(|n| n % modulus))
}

fn add(a: [usize; 2], b: [usize; 2], modulus: usize) -> [usize; 2] {
    [(a[0] + b[0]) % modulus, (a[1] + b[1]) % modulus]
}

#[cfg(test)]
mod tests {
    use super::check_digit;

    /// Published examples, the first eight from the eMI3 paper as other implementations test them.
    #[test]
    fn published_examples() {
        let examples = [
            "NN123ABCDEFGHIT",
            "FRXYZ1234567892",
            "ITA1B2C3E4F5G64",
            "ESZU8WOX834H1DR",
            "PT73902837ABCZZ",
            "DE83DUIEN83QGZD",
            "DE83DUIEN83ZGQM",
            "DE8AA0012345670",
            "NLTNMC00122045K",
            "NLTNM000122045U",
        ];
        for example in examples {
            assert_eq!(check_digit(&example[..14]), example.chars().last(), "{example}");
        }
        assert_eq!(check_digit("DE83DUIEN83q!Z"), None);
    }
}
