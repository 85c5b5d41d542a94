//! What the wheel costs: nanoseconds per operation, best and median of several rounds.
//!
//! `cargo bench -p pyloop-timers [-- FILTER]`. Rounds of all cases alternate, because neighbours on a shared
//! machine come and go; the best round is the steadier figure there.
#![expect(
    clippy::print_stdout,
    reason = "the report is the purpose of a benchmark"
)]

#[cfg(all(feature = "driver", not(loom)))]
mod attendance;
mod cases;

use std::hint::black_box;

const ROUNDS: usize = 9;

fn main() {
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .unwrap_or_default();
    let cases: Vec<_> = cases::all()
        .into_iter()
        .filter(|case| case.name.contains(&filter))
        .collect();
    let mut figures = vec![Vec::new(); cases.len()];
    for _ in 0..ROUNDS {
        for (case, figures) in cases.iter().zip(&mut figures) {
            figures.push(black_box((case.run)()));
        }
    }
    println!("{:<58} {:>9} {:>9}", "case", "best ns", "median ns");
    for (case, figures) in cases.iter().zip(&mut figures) {
        figures.sort_by(f64::total_cmp);
        println!(
            "{:<58} {:>9.1} {:>9.1}",
            case.name,
            figures[0],
            figures[ROUNDS / 2]
        );
    }
    cases::report_memory(&filter);
    #[cfg(all(feature = "driver", not(loom)))]
    attendance::report(&filter);
}
