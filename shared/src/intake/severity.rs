//! Severity on Security Hub's scale of 0 to 100.

use crate::finding::Provider;

/// A number on the scale of 0 to 100, rounded.
pub(super) fn on_scale(number: f64) -> u8 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 to 100 on the line itself")]
    let whole = number.round().clamp(0.0, 100.0) as u8;
    whole
}

/// GuardDuty's 1.0 to 10.0, times ten.
pub(super) fn of_guardduty(number: f64) -> u8 {
    on_scale(number * 10.0)
}

/// A label. Security Hub's own numbers are the least of each label's range (0, 1, 40, 70, 90). For GuardDuty it is the
/// number GuardDuty itself commonly gives within the range (2, 5, 8, 9), so that the copy of a finding in Security Hub,
/// which often has nothing but the label, is not a change of severity from the native one.
pub(super) fn of_label(label: &str, provider: Provider) -> Option<u8> {
    let (least, guardduty) = match label.trim().to_ascii_uppercase().as_str() {
        "INFORMATIONAL" | "INFO" | "UNTRIAGED" | "NONE" => (0, 0),
        "LOW" => (1, 20),
        "MEDIUM" | "MODERATE" => (40, 50),
        "HIGH" => (70, 80),
        "CRITICAL" => (90, 90),
        "FATAL" => (100, 100),
        _ => return None,
    };
    Some(if provider == Provider::GuardDuty { guardduty } else { least })
}

/// OCSF's `severity_id`.
pub(super) fn of_ocsf(id: u64, provider: Provider) -> Option<u8> {
    let label = match id {
        1 => "INFORMATIONAL",
        2 => "LOW",
        3 => "MEDIUM",
        4 => "HIGH",
        5 => "CRITICAL",
        6 => "FATAL",
        _ => return None,
    };
    of_label(label, provider)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guardduty_numbers_are_times_ten_and_stay_on_the_scale() {
        for (number, expected) in [(2.0, 20), (8.95, 90), (4.04, 40), (0.0, 0), (10.0, 100), (99.0, 100), (-1.0, 0), (f64::NAN, 0)] {
            assert_eq!(of_guardduty(number), expected, "{number}");
        }
    }

    #[test]
    fn labels_have_the_least_number_of_their_range() {
        assert_eq!(of_label("high", Provider::SecurityHub), Some(70));
        assert_eq!(of_label("LOW", Provider::GuardDuty), Some(20));
        assert_eq!(of_label("High and dry", Provider::Other), None);
        assert_eq!(of_ocsf(5, Provider::Other), Some(90));
        assert_eq!(of_ocsf(99, Provider::Other), None);
    }
}
