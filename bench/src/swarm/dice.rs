//! Chance that follows from the seed.

use std::time::Duration;

/// A stream of numbers (splitmix64, Steele et al. 2014): eight bytes, so that each agent has its own.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Those of the `n`th agent.
    pub fn of(seed: u64, n: u64) -> Self {
        let mut dice = Self(seed);
        Self(dice.next() ^ n.wrapping_mul(0xd134_2543_de82_ef95))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to below 1.
    pub fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether something of this probability happens.
    pub fn happens(&mut self, percent: f64) -> bool {
        self.share() * 100.0 < percent
    }

    /// How long until something happens that happens to so many percent each minute; none when it never does.
    pub fn until(&mut self, percent_a_minute: f64) -> Option<Duration> {
        let share = self.share();
        (percent_a_minute > 0.0).then(|| Duration::from_secs_f64(-(1.0 - share).ln() * 6_000.0 / percent_a_minute))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_draw_equal_numbers_and_agents_differ() {
        let draw = |seed, n| Dice::of(seed, n).next();
        assert_eq!(draw(1, 7), draw(1, 7));
        assert_ne!(draw(1, 7), draw(1, 8));
        assert_ne!(draw(1, 7), draw(2, 7));
    }

    #[test]
    fn what_is_drawn_is_as_frequent_as_was_asked_for() {
        let mut dice = Dice::of(1, 1);
        let hits = (0..10_000).filter(|_| dice.happens(20.0)).count();
        assert!((1_800..2_200).contains(&hits), "{hits}");
        // Of 30 percent a minute, one comes every 200 seconds.
        let mean = (0..10_000).filter_map(|_| dice.until(30.0)).sum::<Duration>() / 10_000;
        assert!((190..210).contains(&mean.as_secs()), "{mean:?}");
        assert_eq!(dice.until(0.0), None);
    }
}
