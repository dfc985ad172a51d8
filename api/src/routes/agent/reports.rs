//! Inventory reports.

use axum::{
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderMap, StatusCode, header},
};
use fleet_core::{
    Fleet,
    devices::inventory::SectionReport,
    kernel::{Class, Code},
    protocol::{MAX_REPORT, MAX_REPORT_UNPACKED},
};

use super::identity::FromDevice;
use crate::{
    extract::parse_json,
    problem::{ApiError, ApiResult},
};

/// The report is not what its headers say.
const REPORT_MALFORMED: Code = Code::new("report.malformed", Class::Invalid);
/// The report is too large when unpacked.
const REPORT_TOO_LARGE: Code = Code::new("report.too_large", Class::TooLarge);

/// The limit of a report's body, as sent.
pub(super) fn body_limit() -> DefaultBodyLimit {
    DefaultBodyLimit::max(MAX_REPORT)
}

/// Receive a section of a device's inventory, as JSON packed with zstd.
#[utoipa::path(post, path = "/agent/v1/reports/{section}", operation_id = "receive_report", tag = "agent",
    params(("section" = String, Path, description = "The section, such as packages")),
    request_body(content = SectionReport, description = "The report; Content-Encoding is zstd or absent"),
    responses((status = 204, description = "Stored, or unchanged")),
    security(()), extensions(("x-fleet-permission" = json!("device"))))]
pub(super) async fn receive_report(
    State(fleet): State<Fleet>,
    Path(section): Path<String>,
    headers: HeaderMap,
    from: FromDevice,
) -> ApiResult<StatusCode> {
    let unpacked;
    let body = match headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes()) {
        None => &from.body[..],
        Some(b"zstd") => {
            unpacked = unpack(&from.body)?;
            &unpacked[..]
        }
        Some(_) => return Err(ApiError::new(REPORT_MALFORMED, "a report is plain or packed with zstd")),
    };
    let report: SectionReport = parse_json(body)?;
    if report.section.name() != section {
        return Err(ApiError::new(
            REPORT_MALFORMED,
            "the path names another section than the report",
        ));
    }
    fleet.inventory().receive(from.device.id, &report).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Unpacks at most as much as a report may have, whatever the sender claims.
fn unpack(packed: &[u8]) -> ApiResult<Vec<u8>> {
    use std::io::Read as _;
    let malformed = |_| ApiError::new(REPORT_MALFORMED, "the report is not packed as it says");
    let mut reader = zstd::stream::read::Decoder::new(packed).map_err(malformed)?;
    // The frame's own window is bounded too: 8 MB.
    reader.window_log_max(23).map_err(malformed)?;
    let mut unpacked = Vec::new();
    reader
        .take(MAX_REPORT_UNPACKED as u64 + 1)
        .read_to_end(&mut unpacked)
        .map_err(malformed)?;
    if unpacked.len() > MAX_REPORT_UNPACKED {
        return Err(ApiError::new(
            REPORT_TOO_LARGE,
            format!("a report has at most {MAX_REPORT_UNPACKED} bytes when unpacked"),
        ));
    }
    Ok(unpacked)
}
