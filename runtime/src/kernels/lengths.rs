//! The checks at the entry of every matrix product, which let the loops inside run unchecked.
//!
//! A failure is a mistake in the caller, never in a file: the loader has checked the planes
//! against the shapes before any of them gets here.

use super::{F16Panels, FloatRows, I4Panels, I8Panels, PANEL_ROWS, QuantizedRows, TileMut};
use half::f16;

#[inline]
pub(super) fn quantize_row(x: &[f32], group: usize, q: &[i16], scales: &[f32]) {
    check_group(group);
    assert!(
        q.len() == scales.len() * group,
        "quantize_row: {} q, {} scales",
        q.len(),
        scales.len()
    );
    assert!(x.len() <= q.len(), "quantize_row: {} values for {} q", x.len(), q.len());
}

#[inline]
pub(super) fn gemm_i8(
    w: &I8Panels<'_>,
    first_panel: usize,
    x: &QuantizedRows<'_>,
    out: &TileMut<'_>,
) {
    let panels = w.rows.div_ceil(PANEL_ROWS);
    let groups = check_quantized(w.padded_k, w.group, x);
    let scales = if w.whole_row { 1 } else { groups };
    assert!(fits(w.data.len(), &[panels, PANEL_ROWS, w.padded_k]), "gemm_i8: weight plane");
    assert!(fits(w.scales.len(), &[panels, PANEL_ROWS, scales]), "gemm_i8: scale plane");
    assert!(x.stride >= groups, "gemm_i8: {} activation scales for {groups} groups", x.stride);
    check_columns(w.rows, first_panel, x.m, out);
}

#[inline]
pub(super) fn gemm_i4(
    w: &I4Panels<'_>,
    first_panel: usize,
    x: &QuantizedRows<'_>,
    out: &TileMut<'_>,
) {
    let panels = w.rows.div_ceil(PANEL_ROWS);
    let groups = check_quantized(w.padded_k, w.group, x);
    assert!(fits(w.data.len(), &[panels, PANEL_ROWS, w.padded_k / 2]), "gemm_i4: weight plane");
    assert!(fits(w.scales.len(), &[panels, 2 * PANEL_ROWS, groups]), "gemm_i4: scale plane");
    assert!(x.stride >= 2 * groups, "gemm_i4: no sums behind {} activation scales", x.stride);
    check_columns(w.rows, first_panel, x.m, out);
}

/// Checks activations for weights of `padded_k` in groups of `group`; gives the number of groups.
#[inline]
fn check_quantized(padded_k: usize, group: usize, x: &QuantizedRows<'_>) -> usize {
    check_group(group);
    let groups = padded_k / group;
    assert!(padded_k == groups * group, "k {padded_k} in groups of {group}");
    assert!(
        x.padded_k == padded_k && x.group == group,
        "activations have k {} in groups of {}, weights k {padded_k} in groups of {group}",
        x.padded_k,
        x.group,
    );
    assert!(fits(x.q.len(), &[x.m, x.padded_k]), "integer product: activations");
    assert!(fits(x.scales.len(), &[x.m, x.stride]), "integer product: activation scales");
    groups
}

#[inline]
pub(super) fn gemm_f16(
    w: &F16Panels<'_>,
    first_panel: usize,
    x: &FloatRows<'_>,
    out: &TileMut<'_>,
) {
    assert!(x.k == w.k, "gemm_f16: activations have k {}, weights k {}", x.k, w.k);
    let panels = w.rows.div_ceil(PANEL_ROWS);
    let panel = w.k.saturating_mul(PANEL_ROWS);
    assert!(w.panel_stride >= panel, "gemm_f16: panel stride {} below {panel}", w.panel_stride);
    // The last panel and the last token need not be followed by the rest of their stride.
    let weights =
        panels == 0 || fits(w.data.len().saturating_sub(panel), &[panels - 1, w.panel_stride]);
    assert!(weights && (panels == 0 || w.data.len() >= panel), "gemm_f16: weight plane");
    let rows = x.m == 0 || fits(x.x.len().saturating_sub(x.k), &[x.m - 1, x.stride]);
    assert!(rows && (x.m == 0 || x.x.len() >= x.k), "gemm_f16: activations");
    check_columns(w.rows, first_panel, x.m, out);
}

#[inline]
pub(super) fn to_f16(x: &[f32], out: &[f16]) {
    assert!(x.len() == out.len(), "to_f16: lengths differ");
}

/// The sum of a group must fit 32 bits: `group * 128 * 32512 < 2^31`.
#[inline]
fn check_group(group: usize) {
    assert!(
        group > 0 && group <= 128 && group.is_multiple_of(32),
        "groups of {group}: 32, 64 or 128 expected"
    );
}

#[inline]
fn check_columns(rows: usize, first_panel: usize, m: usize, out: &TileMut<'_>) {
    assert!(out.rows() == m, "output has {} rows for {m} tokens", out.rows());
    let first = first_panel.saturating_mul(PANEL_ROWS);
    let end = first.saturating_add(out.cols());
    assert!(
        end <= rows && (end == rows || out.cols().is_multiple_of(PANEL_ROWS)),
        "columns {first}..{end} of {rows}"
    );
}

/// Whether `len` elements hold an array of these dimensions.
#[inline]
fn fits(len: usize, dims: &[usize]) -> bool {
    let needed = dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
    needed.is_some_and(|needed| needed <= len)
}
