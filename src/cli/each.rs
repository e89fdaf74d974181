//! Commands that do the same to several containers, images or networks: one that fails does not keep the others.

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::{CommandError, Context, output};
use crate::engine::{Engine, EngineError};

/// How many containers are worked on at once: most of the time they are only waited for.
const AT_ONCE: usize = 50;

/// Does something to each container, to several at once, and prints what it was called by. One that fails does not keep
/// the others.
pub(super) fn for_each(
    names: &[String],
    context: &mut Context,
    work: impl Fn(&mut Engine, &str) -> Result<(), EngineError> + Sync,
) -> Result<ExitCode, CommandError> {
    print_each_at_once(names, context, |engine, name| work(engine, name).map(|()| format!("{name}\n")))
}

/// As [`for_each`] where containers are started: one that is to join another of them comes after it.
pub(super) fn start_each(
    names: &[String],
    context: &mut Context,
    work: impl Fn(&mut Engine, &str) -> Result<(), EngineError> + Sync,
) -> Result<ExitCode, CommandError> {
    in_turns(names, false, context, work)
}

/// As [`start_each`] where containers are stopped: one that has joined another of them comes before it.
pub(super) fn stop_each(
    names: &[String],
    context: &mut Context,
    work: impl Fn(&mut Engine, &str) -> Result<(), EngineError> + Sync,
) -> Result<ExitCode, CommandError> {
    in_turns(names, true, context, work)
}

fn in_turns(
    names: &[String],
    backwards: bool,
    context: &mut Context,
    work: impl Fn(&mut Engine, &str) -> Result<(), EngineError> + Sync,
) -> Result<ExitCode, CommandError> {
    let turns = if names.len() > 1 { context.engine()?.turns(names) } else { vec![0; names.len()] };
    let mut code = ExitCode::SUCCESS;
    let last = turns.iter().copied().max().unwrap_or(0);
    for turn in 0..=last {
        let turn = if backwards { last - turn } else { turn };
        let of_turn = names.iter().zip(&turns).filter(|(_, own)| **own == turn);
        let of_turn: Vec<String> = of_turn.map(|(name, _)| name.clone()).collect();
        if for_each(&of_turn, context, &work)? != ExitCode::SUCCESS {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

/// Prints what comes of each, of several at once, in the order of the names. One that fails does not keep the others.
pub(super) fn print_each_at_once(
    names: &[String],
    context: &mut Context,
    work: impl Fn(&mut Engine, &str) -> Result<String, EngineError> + Sync,
) -> Result<ExitCode, CommandError> {
    let (format, mut code) = (context.log_format, ExitCode::SUCCESS);
    side_by_side(names, context, &work, |result| match result {
        Ok(text) => output::print(&text),
        Err(error) => {
            CommandError::from(error).report(format);
            code = ExitCode::FAILURE;
        }
    })?;
    Ok(code)
}

/// As [`for_each`] where containers are removed: with `force`, one that is not there is told of, and is no failure.
pub(super) fn remove_each_at_once(
    names: &[String],
    force: bool,
    context: &mut Context,
    work: impl Fn(&mut Engine, &str) -> Result<(), EngineError> + Sync,
) -> Result<ExitCode, CommandError> {
    let (format, mut code) = (context.log_format, ExitCode::SUCCESS);
    let work = |engine: &mut Engine, name: &str| work(engine, name).map(|()| format!("{name}\n"));
    side_by_side(names, context, &work, |result| match result {
        Ok(text) => output::print(&text),
        Err(error) => {
            if !(force && error.is_not_found()) {
                code = ExitCode::FAILURE;
            }
            CommandError::from(error).report(format);
        }
    })?;
    Ok(code)
}

/// Does the same to each, to several at once, and hands the results to `tell` in the order of the names, each as soon as
/// those before it are known.
fn side_by_side(
    names: &[String],
    context: &mut Context,
    work: &(impl Fn(&mut Engine, &str) -> Result<String, EngineError> + Sync),
    mut tell: impl FnMut(Result<String, EngineError>),
) -> Result<(), CommandError> {
    // What is named twice comes twice, one after the other.
    let is_repeated = |(at, name): (usize, &String)| names[..at].contains(name);
    if names.len() < 2 || names.iter().enumerate().any(is_repeated) {
        for name in names {
            tell(work(context.engine()?, name));
        }
        return Ok(());
    }
    let (next, (send, results)) = (AtomicUsize::new(0), mpsc::channel());
    let engine = || context.new_engine();
    std::thread::scope(|scope| {
        for _ in 0..names.len().min(AT_ONCE) {
            let (next, send) = (&next, send.clone());
            // The sockets of an engine serve one thread.
            let mut engine = engine();
            scope.spawn(move || {
                while let Some((at, name)) = take(next, names) {
                    // The receiver is there as long as this thread is.
                    send.send((at, work(&mut engine, name))).ok();
                }
            });
        }
        drop(send);
        let (mut told, mut known) = (0, Vec::new());
        known.resize_with(names.len(), || None);
        for (at, result) in results {
            known[at] = Some(result);
            while let Some(result) = known.get_mut(told).and_then(Option::take) {
                tell(result);
                told += 1;
            }
        }
    });
    Ok(())
}

/// The next name that nobody works on.
fn take<'a>(next: &AtomicUsize, names: &'a [String]) -> Option<(usize, &'a String)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    names.get(at).map(|name| (at, name))
}

/// Removes each image, network or volume, in order. With `force`, one that is not there is told of, and is no failure.
pub(super) fn remove_each(
    names: &[String],
    force: bool,
    context: &mut Context,
    mut work: impl FnMut(&mut Engine, &str) -> Result<Vec<String>, EngineError>,
) -> Result<ExitCode, CommandError> {
    let mut code = ExitCode::SUCCESS;
    for name in names {
        match work(context.engine()?, name) {
            Ok(removed) => removed.iter().for_each(|line| output::print(&format!("{line}\n"))),
            Err(error) => {
                if !(force && error.is_not_found()) {
                    code = ExitCode::FAILURE;
                }
                CommandError::from(error).report(context.log_format);
            }
        }
    }
    Ok(code)
}

/// Prints what is told of each, in order. One that fails does not keep the others.
pub(super) fn print_each(
    names: &[String],
    context: &mut Context,
    mut tell: impl FnMut(&mut Engine, &str) -> Result<String, EngineError>,
) -> Result<ExitCode, CommandError> {
    let mut code = ExitCode::SUCCESS;
    for name in names {
        match tell(context.engine()?, name) {
            Ok(text) => output::print(&text),
            Err(error) => {
                CommandError::from(error).report(context.log_format);
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}
