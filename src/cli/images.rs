//! `mydocker images`

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::cli::image_filters::{Filter, Filters};
use crate::cli::listing::{self, Columns, ListFormat};
use crate::cli::{CommandError, Context, documents, human, output};
use crate::engine::{Pinned, Reference, StoredImage};

/// List images, the newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mydocker images --filter reference='web:*'")]
pub(super) struct Args {
    /// Accepted for compatibility: all images are always shown
    #[arg(long, short)]
    all: bool,
    /// Print the ids only
    #[arg(long, short)]
    quiet: bool,
    /// Show the digests by which registries know the images
    #[arg(long)]
    digests: bool,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    /// Show only images that match: reference=PATTERN, label=KEY[=VALUE], dangling=BOOL, before=IMAGE or
    /// since=IMAGE; may be given more than once
    #[arg(long, short, value_name = "FILTER")]
    filter: Vec<Filter>,
    /// Print a table, one JSON object a line (json), or one line for each image by a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: ListFormat,
    /// Show only images of this name (default: with any tag)
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<String>,
}

const COLUMNS: Columns = Columns {
    titles: &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("ID", "IMAGE ID"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
        ("VirtualSize", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("Containers", "CONTAINERS"),
    ],
    shown: &["Repository", "Tag", "ID", "CreatedSince", "Size"],
};

const WITH_DIGESTS: Columns =
    Columns { titles: COLUMNS.titles, shown: &["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"] };

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    // There are no images that only others are built on.
    let _ = args.all;
    let engine = context.engine()?;
    let mut filters = Filters::new(args.filter, |reference| Ok(engine.image(reference)?.config.created))?;
    if let Some(name) = args.name {
        filters.restrict_to(name);
    }
    let now = Utc::now();
    let mut rows = Vec::new();
    for image in engine.images()?.iter().filter(|image| filters.fits(image)) {
        let names: Vec<&Reference> = image.names.iter().filter(|name| filters.fits_name(name)).collect();
        let shown = |name: Option<&Reference>| row(image, name, now, args.no_trunc);
        if image.names.is_empty() && !filters.wants_names() {
            rows.push(shown(None));
            // Pulled by its digest, or named anew since: the registry's name is left.
            if let (Some(row), Some(pinned)) = (rows.last_mut(), image.digests.first()) {
                row["Repository"] = pinned.repository().into();
                row["Digest"] = pinned.digest().as_str().into();
            }
        }
        rows.extend(names.into_iter().map(|name| shown(Some(name))));
    }
    if args.quiet {
        let ids = rows.iter().filter_map(|row| row["ID"].as_str());
        output::print(&ids.map(|id| format!("{id}\n")).collect::<String>());
        return Ok(ExitCode::SUCCESS);
    }
    listing::print(&args.format, if args.digests { &WITH_DIGESTS } else { &COLUMNS }, &rows)?;
    Ok(ExitCode::SUCCESS)
}

/// An image as listings show it, by one of its names.
pub(super) fn row(image: &StoredImage, name: Option<&Reference>, now: DateTime<Utc>, whole: bool) -> Value {
    let same = |pinned: &&Pinned| name.is_some_and(|name| name.repository() == pinned.repository());
    let digest = image.digests.iter().find(same).map(Pinned::digest);
    json!({
        "Digest": digest.map_or("<none>", |digest| digest.as_str()),
        "Repository": name.map_or("<none>", Reference::repository),
        "Tag": name.map_or("<none>", Reference::tag),
        "ID": if whole { image.id.to_string() } else { image.id.short().to_owned() },
        "CreatedAt": image.config.created.map(documents::listed_time).unwrap_or_default(),
        "CreatedSince": since(image.config.created, now),
        "Size": size(image.size),
        "VirtualSize": size(image.size),
        // What is costly to find out, Docker leaves out as well.
        "SharedSize": "N/A",
        "UniqueSize": "N/A",
        "Containers": "N/A",
    })
}

/// How long ago, in words; an image may have no time.
pub(super) fn since(created: Option<DateTime<Utc>>, now: DateTime<Utc>) -> String {
    created.map(|created| format!("{} ago", human::span(now - created))).unwrap_or_default()
}

/// A number of bytes with three digits, in units of a thousand, as Docker puts it.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let (mut whole, mut unit, mut thousandths) = (bytes, 0, 0);
    while whole >= 1000 && unit + 1 < UNITS.len() {
        thousandths = whole % 1000;
        whole /= 1000;
        unit += 1;
    }
    let decimals = match whole {
        _ if unit == 0 => 0,
        0..=9 => 2,
        10..=99 => 1,
        _ => 0,
    };
    // Rounded to what is shown; a carry only shows where it makes one more digit.
    let scale = 10_u64.pow(decimals);
    let shown = whole * scale + (thousandths * scale + 500) / 1000;
    let (whole, fraction) = (shown / scale, shown % scale);
    if whole >= 1000 && unit + 1 < UNITS.len() {
        return format!("1{}", UNITS[unit + 1]);
    }
    let digits = usize::try_from(decimals).unwrap_or(0);
    let text = if decimals == 0 { whole.to_string() } else { format!("{whole}.{fraction:0digits$}") };
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_dockers() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1234, "1.23kB"),
            (4_261_550, "4.26MB"),
            (72_800_000, "72.8MB"),
            (117_400_000, "117MB"),
            (999_999, "1MB"),
            (1_500_000_000, "1.5GB"),
            (u64::MAX, "18.4EB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
