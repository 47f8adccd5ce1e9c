//! Who comes next, and what for: the population of a workload and its sessions' keys.
//!
//! What always holds: a session's key follows from its number and generation, so a population costs
//! four bytes per session here. A sign-in or sign-out takes effect here when it is sent; a request
//! that is on its way at that moment may find the old key gone, as in life.

use crate::dialect::Op;
use crate::random::{Draw, Random, mix};
use crate::workload::Workload;

/// Set in the generation of a session that is signed out.
const GONE: u32 = 1 << 31;
const TRIES: usize = 8;

/// A population and the state of its sessions.
#[derive(Debug)]
pub struct Visitors {
    seed: u64,
    prefix: Vec<u8>,
    generations: Vec<u32>,
    gone: Vec<u32>,
    filled: u64,
    draw: Draw,
    mix: [f64; 5],
    random: Random,
}

/// One visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Visit {
    /// What for.
    pub(super) op: Op,
    /// Which session.
    pub(super) session: u32,
    /// Its generation before the visit, or the one to create.
    pub(super) generation: u32,
}

impl Visitors {
    /// The population of a workload. The seed decides its keys and the order of visits.
    pub fn new(workload: &Workload, seed: u64) -> Self {
        let mut sum = 0.0;
        let mix = workload.mix.map(|share| {
            sum += share;
            sum
        });
        Self {
            seed: mix64(seed),
            prefix: workload.prefix.clone().into_bytes(),
            generations: vec![0; workload.sessions as usize],
            gone: Vec::new(),
            filled: 0,
            draw: Draw::new(workload.popularity, workload.sessions),
            mix,
            random: Random::new(seed ^ 0x5e55),
        }
    }

    /// The same population with another number of sessions, all of them still to be created.
    pub fn of(workload: &Workload, sessions: u64, seed: u64) -> Self {
        Self::new(&Workload { sessions, ..workload.clone() }, seed)
    }

    /// Sessions, the signed-out ones included.
    pub fn count(&self) -> u64 {
        self.generations.len() as u64
    }

    /// Sessions that are signed out.
    pub fn gone(&self) -> u64 {
        self.gone.len() as u64
    }

    /// The creation of the next session that wasn't created yet.
    pub(super) fn fill(&mut self) -> Option<Visit> {
        let session = u32::try_from(self.filled).ok()?;
        let generation = *self.generations.get(session as usize)?;
        self.filled += 1;
        Some(Visit { op: Op::Create, session, generation })
    }

    /// The next visit; with probability `extra` somebody who signs in.
    pub(super) fn next(&mut self, extra: f64) -> Visit {
        let op = if extra > 0.0 && self.random.unit() < extra { Op::SignIn } else { self.op() };
        match op {
            Op::Create => self.newcomer(),
            Op::SignIn => match self.gone.pop() {
                Some(session) => self.create(session),
                None => self.sign_in(),
            },
            Op::SignOut => self.sign_out(),
            Op::Load | Op::Change => {
                let (session, generation) = self.pick();
                Visit { op, session, generation }
            }
        }
    }

    /// Appends the key of a session in a generation: the prefix and 32 hexadecimal digits.
    pub fn key(&self, session: u32, generation: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix);
        let low = mix(self.seed ^ (u64::from(session) << 32 | u64::from(generation & !GONE)));
        for mut bits in [low, mix(low ^ self.seed)] {
            for _ in 0..16 {
                let digit = (bits >> 60) as u8;
                out.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
                bits <<= 4;
            }
        }
    }

    fn op(&mut self) -> Op {
        let at = self.random.unit();
        let chosen = self.mix.iter().position(|&upto| at < upto);
        chosen.and_then(|at| Op::ALL.get(at)).copied().unwrap_or(Op::Load)
    }

    /// A session that isn't signed out, if a few draws find one.
    fn pick(&mut self) -> (u32, u32) {
        let mut found = (0, 0);
        for _ in 0..TRIES {
            let session = self.draw.pick(&mut self.random) as u32;
            let generation = self.generations.get(session as usize).copied().unwrap_or(0);
            found = (session, generation & !GONE);
            if generation & GONE == 0 {
                break;
            }
        }
        found
    }

    fn sign_in(&mut self) -> Visit {
        let (session, generation) = self.pick();
        self.set(session, generation + 1);
        Visit { op: Op::SignIn, session, generation }
    }

    fn sign_out(&mut self) -> Visit {
        let (session, generation) = self.pick();
        if self.generations.get(session as usize).is_some_and(|now| now & GONE == 0) {
            self.set(session, generation | GONE);
            self.gone.push(session);
        }
        Visit { op: Op::SignOut, session, generation }
    }

    /// A newcomer takes the place of somebody who won't come back: the old key stays unused.
    fn newcomer(&mut self) -> Visit {
        let (session, _) = self.pick();
        self.create(session)
    }

    fn create(&mut self, session: u32) -> Visit {
        let generation = self.generations.get(session as usize).copied().unwrap_or(0) & !GONE;
        let generation = (generation + 1) & !GONE;
        self.set(session, generation);
        Visit { op: Op::Create, session, generation }
    }

    fn set(&mut self, session: u32, generation: u32) {
        if let Some(slot) = self.generations.get_mut(session as usize) {
            *slot = generation;
        }
    }
}

fn mix64(seed: u64) -> u64 {
    mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn workload(mix: &str) -> Workload {
        let text = format!(
            "title=T\nabout=A\nsessions=1000\nbytes=300\nidle=1d\nslide=no\npopularity=uniform\n\
             mix={mix}\nconnections=1\nrate=10\nmemory=1mb\nlength=1s"
        );
        crate::workload::parse("x", &text).unwrap()
    }

    #[test]
    fn keys_differ_by_session_and_generation() {
        let visitors = Visitors::new(&workload("load 1"), 1);
        let other = Visitors::new(&workload("load 1"), 2);
        let mut keys = HashSet::new();
        for session in 0..100 {
            for generation in 0..10 {
                let mut key = Vec::new();
                visitors.key(session, generation, &mut key);
                assert_eq!(key.len(), "session:".len() + 32);
                assert!(keys.insert(key));
            }
        }
        let mut key = Vec::new();
        other.key(0, 0, &mut key);
        assert!(keys.insert(key));
    }

    #[test]
    fn filling_creates_each_session_once() {
        let mut visitors = Visitors::new(&workload("load 1"), 1);
        let sessions: Vec<_> = std::iter::from_fn(|| visitors.fill()).map(|v| v.session).collect();
        assert_eq!(sessions, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn the_mix_is_kept() {
        let mut visitors =
            Visitors::new(&workload("load 70, change 25, sign-in 2.5, sign-out 2.5"), 1);
        let mut counts = std::collections::HashMap::new();
        for _ in 0..100_000 {
            *counts.entry(visitors.next(0.0).op.name()).or_insert(0u32) += 1;
        }
        assert!(counts["load"].abs_diff(70_000) < 1000, "{counts:?}");
        assert!(counts["change"].abs_diff(25_000) < 1000, "{counts:?}");
        // Who signs in is mostly somebody who had signed out.
        assert!((counts["create"] + counts.get("sign-in").unwrap_or(&0)).abs_diff(2500) < 300);
        assert!(visitors.gone() < 200, "{}", visitors.gone());
    }

    #[test]
    fn nobody_visits_as_a_session_that_ended() {
        let mut visitors = Visitors::new(&workload("load 1, sign-in 1, sign-out 1"), 1);
        let mut live: Vec<u32> = vec![0; 1000];
        for _ in 0..20_000 {
            let visit = visitors.next(0.0);
            let at = visit.session as usize;
            match visit.op {
                Op::Create => live[at] = visit.generation,
                Op::SignIn => live[at] = visit.generation + 1,
                _ if live[at] == visit.generation => {
                    if visit.op == Op::SignOut {
                        live[at] = u32::MAX;
                    }
                }
                // Eight draws in a row that hit signed-out sessions; a few per thousand at most.
                _ => assert!(visitors.gone() > 0),
            }
        }
    }
}
