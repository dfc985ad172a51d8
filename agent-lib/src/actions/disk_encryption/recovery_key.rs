//! Passphrases that are made here: 256 random bits, in letters that lie on the same keys of most keyboards, as the prompt of a starting
//! device often knows no other than the American one. The format is that of systemd-cryptenroll(1), `--recovery-key`.

use fleet_core::{
    kernel::{Randomness, random_bytes},
    work::secrets::SecretText,
};

/// The digits of "modhex".
const LETTERS: [char; 16] = [
    'c', 'b', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'n', 'r', 't', 'u', 'v',
];
const GROUP: usize = 8;

/// A new one: eight groups of eight letters.
pub(super) fn make(random: &dyn Randomness) -> SecretText {
    spell(random_bytes(random)).into()
}

fn spell(bytes: [u8; 32]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let mut text = String::with_capacity(71);
    for (at, digit) in digits.enumerate() {
        if at > 0 && at % GROUP == 0 {
            text.push('-');
        }
        text.push(LETTERS[usize::from(digit)]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_can_be_typed_and_says_every_bit() {
        let mut bytes = [0; 32];
        bytes[0] = 0x01;
        bytes[31] = 0xfe;
        let zeros = "cccccccc";
        let expected = format!("cbcccccc-{}ccccccvu", format!("{zeros}-").repeat(6));
        assert_eq!(spell(bytes), expected);
        assert_eq!(spell([0xff; 32]), ["vvvvvvvv"; 8].join("-"));
    }
}
