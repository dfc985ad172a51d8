//! New passwords. Pure.

use fleet_core::{
    kernel::{Randomness, random_bytes},
    work::{operations::actions::password_rotation::PasswordComplexity, secrets::SecretText},
};
use zeroize::Zeroizing;

/// Without those that people mistake for one another: people type these.
const UPPER: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZ";
const LOWER: &[u8] = b"abcdefghijkmnopqrstuvwxyz";
const DIGITS: &[u8] = b"23456789";
/// Without quotes, backslash and colon, which shells and chpasswd(8) read as something else.
const OTHERS: &[u8] = b"!#%*+,-./=?@_~";
/// How often it is tried to have a character of each class by chance: of eight characters every second try does.
const TRIES: usize = 1_000;

/// A new password of so many characters, all that fit equally likely.
pub(super) fn generate(length: u32, complexity: PasswordComplexity, random: &dyn Randomness) -> SecretText {
    let classes: &[&[u8]] = match complexity {
        PasswordComplexity::Alphanumeric => &[UPPER, LOWER, DIGITS],
        PasswordComplexity::Complex => &[UPPER, LOWER, DIGITS, OTHERS],
    };
    let alphabet = classes.concat();
    let mut password = Zeroizing::new(String::new());
    for _ in 0..TRIES {
        *password = draw(&alphabet, length, random);
        let has = |class: &[u8]| password.bytes().any(|byte| class.contains(&byte));
        if classes.iter().all(|class| has(class)) {
            break;
        }
    }
    std::mem::take(&mut *password).into()
}

/// Characters of an alphabet, each equally likely: bytes beyond the last whole multiple of its length are drawn again.
fn draw(alphabet: &[u8], length: u32, random: &dyn Randomness) -> String {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let fair = 256 - 256 % alphabet.len();
    let mut drawn = String::with_capacity(length);
    while drawn.len() < length {
        let bytes = Zeroizing::new(random_bytes::<64>(random));
        let fitting = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
        let room = length - drawn.len();
        drawn.extend(
            fitting
                .take(room)
                .map(|byte| char::from(alphabet[byte % alphabet.len()])),
        );
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_core::kernel::SeededRandom;

    #[test]
    fn a_password_has_its_length_and_a_character_of_each_class() {
        let random = SeededRandom::new(1);
        for (complexity, classes) in [
            (PasswordComplexity::Alphanumeric, &[UPPER, LOWER, DIGITS][..]),
            (PasswordComplexity::Complex, &[UPPER, LOWER, DIGITS, OTHERS][..]),
        ] {
            for length in [8, 20, 128] {
                for _ in 0..200 {
                    let password = generate(length, complexity, &random);
                    let password = password.reveal();
                    assert_eq!(password.len(), length as usize);
                    for class in classes {
                        assert!(password.bytes().any(|byte| class.contains(&byte)), "{password}");
                    }
                    assert!(
                        password.bytes().all(|byte| classes.concat().contains(&byte)),
                        "{password}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_character_is_drawn_about_as_often() {
        let random = SeededRandom::new(2);
        let alphabet = [UPPER, LOWER, DIGITS].concat();
        let drawn = draw(&alphabet, 57_000, &random);
        for character in &alphabet {
            let times = drawn.bytes().filter(|byte| byte == character).count();
            assert!((850..1_150).contains(&times), "{}: {times}", char::from(*character));
        }
    }
}
