//! Many runs in which something goes wrong, several at once.

use std::fmt::Display;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::Chance;
use crate::case::Ctx;
use crate::failure::Failure;

/// What is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Soak {
    /// How many.
    pub(super) runs: u64,
    /// What they are drawn from.
    pub(super) seed: u64,
    /// How many at once.
    pub(super) jobs: u64,
    /// The number of the first one: the same number and seed are the same run, as far as the clock lets them.
    pub(super) first: u64,
}

/// What goes wrong, and numbers, of the run with this index: all of them in an order of the seed's own, again and again.
fn draw<C: Copy>(cells: &[C], seed: u64, index: u64) -> Option<(C, Chance)> {
    let count = (cells.len() as u64).max(1);
    let mut cells = cells.to_vec();
    Chance::new(seed.wrapping_add(index / count)).shuffle(&mut cells);
    let cell = cells.get(usize::try_from(index % count).ok()?)?;
    Some((*cell, Chance::new(seed ^ index.wrapping_mul(0x1000_0001))))
}

impl Soak {
    /// Reads `RUNS SEED JOBS FIRST`, and gives back what follows.
    pub(super) fn parse(words: &[String]) -> Result<(Self, &[String]), Failure> {
        let usage = "RUNS, SEED, JOBS and FIRST are numbers";
        let (numbers, rest) = words.split_at_checked(4).ok_or(usage)?;
        let numbers: Vec<u64> = numbers.iter().filter_map(|word| word.parse().ok()).collect();
        let [runs, seed, jobs, first] = numbers[..] else { return Err(usage.into()) };
        Ok((Self { runs, seed, jobs: jobs.max(1), first }, rest))
    }

    /// Runs all of them by `one`, which is given the run's number. `note` hears of those after which all was as it should be; what went
    /// wrong with the others is given back.
    pub(super) fn run<C: Copy + Display + Sync, R: Display>(
        &self,
        cells: &[C],
        one: &(dyn Fn(u64, C, Chance) -> Result<R, Failure> + Sync),
        note: &mut (dyn FnMut(C, R) + Send),
    ) -> Vec<String> {
        let end = self.first.saturating_add(self.runs);
        let (next, heard) = (Mutex::new(self.first..end), Mutex::new((Vec::new(), note)));
        thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(|| {
                    loop {
                        let index = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                        let Some(index) = index else { return };
                        let Some((cell, chance)) = draw(cells, self.seed, index) else { return };
                        let ran = one(index, cell, chance);
                        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                        let (failed, note) = &mut *heard;
                        match ran {
                            Ok(ran) => {
                                println!("run {index}: {cell}: {ran}");
                                note(cell, ran);
                            }
                            Err(Failure(why)) => {
                                println!("run {index}: {cell}: FAILED: {why}");
                                failed.push(format!("run {index}: {cell}: {why}"));
                            }
                        }
                    }
                });
            }
        });
        heard.into_inner().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Says how it went; whether well.
    pub(super) fn say_end(&self, failed: &[String]) -> bool {
        println!("seed {}: {} runs, {} failed", self.seed, self.runs, failed.len());
        failed.iter().for_each(|why| println!("FAILED {why}"));
        failed.is_empty()
    }
}

/// One run in a folder of its own, which stays if something is wrong.
pub(super) fn in_folder<R>(
    ctx: &Ctx,
    index: u64,
    run: impl FnOnce(&Ctx) -> Result<R, Failure>,
) -> Result<R, Failure> {
    let folder = ctx.scratch.join(format!("fault-{index}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let own = Ctx { results: folder.clone(), scratch: folder.clone(), ..ctx.clone() };
    let ran = run(&own)?;
    fs::remove_dir_all(&folder)?;
    Ok(ran)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{Cell, Way};
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn all_faults_come_before_one_comes_again() {
        let all = Cell::all(&Way::ALL);
        let count = all.len() as u64;
        let cell = |seed, index| draw(&all, seed, index).unwrap().0;
        for seed in [1, 77] {
            let cells: BTreeSet<_> = (0..count).map(|index| cell(seed, index)).collect();
            assert_eq!(cells.len() as u64, count);
        }
        assert_ne!(cell(1, 0), cell(1, count));
        assert!(draw::<Cell>(&[], 1, 0).is_none());
    }

    #[test]
    fn numbers_come_first() {
        let all = words("7 8 0 9 tls");
        let (soak, rest) = Soak::parse(&all).unwrap();
        assert_eq!(soak, Soak { runs: 7, seed: 8, jobs: 1, first: 9 });
        assert_eq!(rest, ["tls"]);
        assert!(Soak::parse(&words("7 8 1")).is_err());
        assert!(Soak::parse(&words("7 8 1 tls")).is_err());
    }

    #[test]
    fn each_run_is_run_once_and_heard_of() {
        let soak = Soak { runs: 10, seed: 1, jobs: 3, first: 5 };
        let (ran, mut noted) = (Mutex::new(Vec::new()), 0);
        let one = |index, _: u8, _| {
            ran.lock().unwrap().push(index);
            if index == 7 { Err("so it is".into()) } else { Ok(index) }
        };
        let failed = soak.run(&[1, 2, 3], &one, &mut |_, _| noted += 1);
        let mut ran = ran.into_inner().unwrap();
        ran.sort_unstable();
        assert_eq!(ran, (5..15).collect::<Vec<u64>>());
        assert_eq!((failed.len(), noted), (1, 9));
        assert!(!soak.say_end(&failed));
    }
}
