//! Trails that write into a log group: the whole of what CloudTrail records for as long as the group keeps it, data events too where the trail
//! selects them.

use std::time::Duration;

use aws_sdk_cloudwatchlogs::Client;
use cordon_shared::id::{CellId, Region};
use jiff::SignedDuration;
use tokio::time::Instant;

use super::{Read, Source, Wanted, Window};
use crate::{
    action::{ActionError, Cx, LogSource, classify},
    actions::logs::horizon::{self, Horizon},
    aws::patiently,
    session::Clients,
};

const CALL: &str = "logs:FilterLogEvents";

/// How long a page may wait for the rate limit.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most pages of one pattern, most of them empty: AWS searches a part of the group for each.
const PAGES: usize = 400;
/// How long one place is read.
const TIME: Duration = Duration::from_secs(120);
/// Pages in which any record of the account is looked for.
const WITNESS_PAGES: usize = 40;
/// How much later than the call its line may be dated: CloudTrail delivers within minutes
/// (<https://docs.aws.amazon.com/awscloudtrail/latest/userguide/get-and-view-cloudtrail-log-files.html>).
const LATE: SignedDuration = SignedDuration::from_mins(30);

const NOTE: &str = "a trail's log group has what the trail selects, data events only where they are selected";

/// Searches each configured group, in the order of the configuration.
pub(super) async fn search(cx: Cx<'_>, wanted: &Wanted<'_>, window: Window, most: usize) -> Result<Vec<Read>, ActionError> {
    let mut found = Vec::new();
    for source in cx.logs.iter().filter(|source| source.kind == "cloudtrail") {
        for cell in cells(cx, source) {
            found.push(one(cx, source, &cell, wanted, window, most).await?);
        }
    }
    Ok(found)
}

/// Where a source is: in the Region that it names, else in each configured one; in the account that it names, else in the subject's own.
fn cells(cx: Cx<'_>, source: &LogSource) -> Vec<CellId> {
    let account = source.account.as_ref().unwrap_or(&cx.cell.account);
    let regions: Vec<&Region> = match &source.region {
        Some(region) => vec![region],
        None => cx.regions.iter().collect(),
    };
    regions.into_iter().map(|region| CellId::new(account.clone(), region.clone())).collect()
}

async fn session(cx: Cx<'_>, cell: &CellId) -> Result<Clients, ActionError> {
    if cell.account == cx.cell.account { Ok(cx.read.in_region(&cell.region)) } else { cx.reach.read(cell).await }
}

async fn one(cx: Cx<'_>, source: &LogSource, cell: &CellId, wanted: &Wanted<'_>, window: Window, most: usize) -> Result<Read, ActionError> {
    let fill = |text: &str| text.replace("{account}", cx.cell.account.as_str());
    let place = Group { name: fill(&source.group), prefix: source.stream.as_deref().filter(|stream| !stream.is_empty()).map(fill) };
    let mut read = Read::new(format!("log group {} in {cell}", place.name), Source::LogGroup);
    let client = match session(cx, cell).await {
        Ok(clients) => clients.logs(),
        Err(error) => {
            read.fails(error)?;
            return Ok(read);
        }
    };
    read.horizon.1 = NOTE.to_owned();
    match horizon::of(&client, &place.name, cx.clock.now()).await {
        Ok(Horizon::Missing) => {
            read.says("there is no such log group");
            return Ok(read);
        }
        Ok(Horizon::Open) => {}
        Ok(Horizon::From(from, why)) if from > window.since => {
            read.horizon = (Some(from), format!("{}: {why}; {NOTE}", place.name));
        }
        Ok(Horizon::From(..)) => {}
        // The group may be read all the same.
        Err(ActionError::Denied(_)) => read.horizon.1 = format!("how long {} keeps lines may not be read; {NOTE}", place.name),
        Err(error) => {
            read.fails(error)?;
            return Ok(read);
        }
    }
    if let Err(error) = place.read(&client, wanted, window, most, &mut read).await {
        // What was read before it counts.
        read.usable = !read.catch.records.is_empty();
        match error {
            ActionError::Gone { .. } => read.says("there is no such log group or stream"),
            error => read.fails(error)?,
        }
        return Ok(read);
    }
    if read.catch.records.is_empty() {
        match place.witness(&client, cx, window).await {
            Ok(true) => read.usable = true,
            Ok(false) => {
                read.complete = false;
                read.says(format!("no record of account {} in the window: no trail of it writes here", cx.cell.account));
            }
            Err(error) => read.fails(error)?,
        }
    } else {
        read.usable = true;
    }
    Ok(read)
}

struct Group {
    name: String,
    /// What the streams' names begin with.
    prefix: Option<String>,
}

impl Group {
    async fn read(&self, client: &Client, wanted: &Wanted<'_>, window: Window, most: usize, read: &mut Read) -> Result<(), ActionError> {
        let deadline = Instant::now() + TIME;
        for pattern in wanted.patterns() {
            let mut token = None;
            let mut pages = 0;
            loop {
                let (lines, next) = self.page(client, &pattern, window, token, None).await?;
                for line in lines {
                    read.catch.take(&line, wanted, window);
                }
                pages += 1;
                token = next;
                if token.is_none() {
                    break;
                }
                if read.catch.is_full(most) {
                    read.says(format!("more than {most} records: the rest was not read"));
                    return Ok(());
                }
                if pages >= PAGES || Instant::now() >= deadline {
                    read.says("too long to search whole: records may be missing");
                    return Ok(());
                }
            }
        }
        read.complete = true;
        Ok(())
    }

    /// Whether there is any record of the account in the window.
    async fn witness(&self, client: &Client, cx: Cx<'_>, window: Window) -> Result<bool, ActionError> {
        let pattern = format!("{{ $.recipientAccountId = \"{}\" }}", cx.cell.account);
        let mut token = None;
        for _ in 0..WITNESS_PAGES {
            let (lines, next) = self.page(client, &pattern, window, token, Some(1)).await?;
            if !lines.is_empty() {
                return Ok(true);
            }
            token = next;
            if token.is_none() {
                break;
            }
        }
        Ok(false)
    }

    async fn page(
        &self,
        client: &Client,
        pattern: &str,
        window: Window,
        token: Option<String>,
        limit: Option<i32>,
    ) -> Result<(Vec<String>, Option<String>), ActionError> {
        let until = window.until.checked_add(LATE).unwrap_or(window.until);
        let request = || {
            let sent = client
                .filter_log_events()
                .log_group_name(&self.name)
                .set_log_stream_name_prefix(self.prefix.clone())
                .start_time(window.since.as_millisecond())
                .end_time(until.as_millisecond())
                .filter_pattern(pattern)
                .set_limit(limit)
                .set_next_token(token.clone())
                .send();
            async { sent.await.map_err(|error| classify(CALL, error)) }
        };
        let answer = patiently(PATIENCE, request).await?;
        let lines = answer.events().iter().filter_map(|event| event.message()).map(str::to_owned).collect();
        // An empty page with a token is not the end.
        Ok((lines, answer.next_token().filter(|next| !next.is_empty() && Some(*next) != token.as_deref()).map(str::to_owned)))
    }
}
