//! Random numbers, and which session a request is about.
//!
//! What always holds: a seed gives the same sequence on every machine. Popular sessions are spread
//! over the whole population, so that popularity doesn't follow the order of creation.
//! Not for: secrets.

/// SplitMix64: one addition and one mix per number, and any seed is a good one.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Below `n`; 0 if `n` is 0. The bias is at most `n` in 2^64.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    /// From 0 (included) to 1 (excluded).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A gap of a Poisson process with mean 1.
    pub fn gap(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }
}

/// Spreads 64 bits over 64 bits, one to one.
pub fn mix(bits: u64) -> u64 {
    let a = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let b = (a ^ (a >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    b ^ (b >> 31)
}

/// How often the sessions are used, as a workload file says it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Popularity {
    /// All alike.
    Uniform,
    /// The k-th most popular in proportion to 1 / k^exponent; exponents from 0.01 to 0.999.
    Zipf(f64),
    /// `share` of all requests go to `part` of all sessions; both from 0 to 1.
    Hot {
        /// The part of the sessions that is hot.
        part: f64,
        /// The share of the requests that they get.
        share: f64,
    },
}

/// Draws sessions of a population.
#[derive(Clone, Debug)]
pub struct Draw {
    count: u64,
    stride: u64,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Uniform,
    Zipf { alpha: f64, eta: f64, zeta: f64, second: f64 },
    Hot { hot: u64, share: f64 },
}

impl Draw {
    /// Draws from `count` sessions, at least one.
    pub fn new(popularity: Popularity, count: u64) -> Self {
        let count = count.max(1);
        let kind = match popularity {
            Popularity::Uniform => Kind::Uniform,
            Popularity::Hot { part, share } => {
                let hot = ((count as f64 * part) as u64).clamp(1, count);
                Kind::Hot { hot, share }
            }
            Popularity::Zipf(exponent) => zipf(exponent, count),
        };
        Self { count, stride: coprime(count), kind }
    }

    /// The number of one session, below the count.
    pub fn pick(&self, random: &mut Random) -> u64 {
        let rank = match self.kind {
            Kind::Uniform => return random.below(self.count),
            Kind::Hot { hot, share } if random.unit() < share => random.below(hot),
            Kind::Hot { hot, .. } => hot + random.below(self.count - hot),
            Kind::Zipf { alpha, eta, zeta, second } => {
                let u = random.unit();
                match u * zeta {
                    x if x < 1.0 => 0,
                    x if x < second => 1,
                    _ => (self.count as f64 * (eta * u - eta + 1.0).powf(alpha)) as u64,
                }
            }
        };
        self.place(rank)
    }

    /// The session of a rank, 0 the most popular: a permutation.
    pub fn place(&self, rank: u64) -> u64 {
        let rank = rank.min(self.count - 1);
        (u128::from(rank) * u128::from(self.stride) % u128::from(self.count)) as u64
    }
}

/// The constants of Gray and others, "Quickly generating billion-record synthetic databases"
/// (SIGMOD 1994): the two most popular ranks exactly, the others by an inverse in closed form.
fn zipf(exponent: f64, count: u64) -> Kind {
    let theta = exponent.clamp(0.01, 0.999);
    let zeta: f64 = harmonic(theta, count);
    let second = 1.0 + 0.5f64.powf(theta);
    let eta = (1.0 - (2.0 / count as f64).powf(1.0 - theta)) / (1.0 - harmonic(theta, 2) / zeta);
    Kind::Zipf { alpha: 1.0 / (1.0 - theta), eta, zeta, second }
}

/// The sum of 1 / k^theta for k up to `count`: exact for the first million, an integral beyond.
fn harmonic(theta: f64, count: u64) -> f64 {
    const EXACT: u64 = 1_000_000;
    let near: f64 = (1..=count.min(EXACT)).map(|k| (k as f64).powf(-theta)).sum();
    if count <= EXACT {
        return near;
    }
    let power = 1.0 - theta;
    near + ((count as f64).powf(power) - (EXACT as f64).powf(power)) / power
}

/// A number near the golden part of `count` that has no divisor in common with it.
fn coprime(count: u64) -> u64 {
    let start = (count as f64 * 0.618) as u64;
    (start.max(1)..).find(|&n| gcd(n, count) == 1).unwrap_or(1)
}

fn gcd(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u64 = 200_000;

    fn shares(popularity: Popularity, count: u64) -> Vec<f64> {
        let draw = Draw::new(popularity, count);
        let mut random = Random::new(7);
        let mut hits = vec![0u64; count as usize];
        for _ in 0..DRAWS {
            hits[draw.pick(&mut random) as usize] += 1;
        }
        (0..count).map(|rank| hits[draw.place(rank) as usize] as f64 / DRAWS as f64).collect()
    }

    #[test]
    fn a_stride_visits_every_session_once() {
        for count in [1, 2, 10, 97, 1000, 4096] {
            let draw = Draw::new(Popularity::Uniform, count);
            let mut seen: Vec<u64> = (0..count).map(|rank| draw.place(rank)).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..count).collect::<Vec<_>>(), "{count} sessions");
        }
    }

    #[test]
    fn uniform_is_flat() {
        let shares = shares(Popularity::Uniform, 100);
        assert!(shares.iter().all(|share| (0.008..0.012).contains(share)), "{shares:?}");
    }

    #[test]
    fn zipf_follows_its_law() {
        let shares = shares(Popularity::Zipf(0.99), 1000);
        let zeta = harmonic(0.99, 1000);
        for rank in [0usize, 1] {
            let expected = 1.0 / ((rank + 1) as f64).powf(0.99) / zeta;
            assert!((shares[rank] / expected - 1.0).abs() < 0.05, "rank {rank}: {}", shares[rank]);
        }
        for (from, to) in [(2usize, 10usize), (10, 100), (100, 1000)] {
            let expected = (harmonic(0.99, to as u64) - harmonic(0.99, from as u64)) / zeta;
            let found: f64 = shares[from..to].iter().sum();
            assert!((found / expected - 1.0).abs() < 0.15, "{from}..{to}: {found} {expected}");
        }
    }

    #[test]
    fn the_hot_part_gets_its_share() {
        let shares = shares(Popularity::Hot { part: 0.1, share: 0.9 }, 1000);
        let hot: f64 = shares[..100].iter().sum();
        assert!((0.89..0.91).contains(&hot), "{hot}");
    }

    #[test]
    fn a_large_harmonic_number_is_close() {
        let exact: f64 = (1..=3_000_000u64).map(|k| (k as f64).powf(-0.9)).sum();
        assert!((harmonic(0.9, 3_000_000) / exact - 1.0).abs() < 1e-4);
    }

    #[test]
    fn gaps_have_mean_one() {
        let mut random = Random::new(1);
        let mean = (0..DRAWS).map(|_| random.gap()).sum::<f64>() / DRAWS as f64;
        assert!((0.99..1.01).contains(&mean), "{mean}");
    }
}
