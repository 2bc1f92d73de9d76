//! Elementwise loops over slices of one length. Each multiplication and each addition is rounded on its own.

wide! {
    /// `out[i] = a[i] + b[i]`
    pub(super) fn sum(a: &[f32], b: &[f32], out: &mut [f32]) {
        for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
            *o = a + b;
        }
    }
}

wide! {
    /// `acc[i] += x[i]`
    pub(super) fn add(acc: &mut [f32], x: &[f32]) {
        for (acc, x) in acc.iter_mut().zip(x) {
            *acc += x;
        }
    }
}

wide! {
    /// `acc[i] += factor * x[i]`
    pub(super) fn add_scaled(acc: &mut [f32], factor: f32, x: &[f32]) {
        for (acc, x) in acc.iter_mut().zip(x) {
            *acc += factor * x;
        }
    }
}

wide! {
    /// `acc[i] += factor * (a[i] + b[i])`
    pub(super) fn add_scaled_sum(acc: &mut [f32], factor: f32, a: &[f32], b: &[f32]) {
        for ((acc, a), b) in acc.iter_mut().zip(a).zip(b) {
            *acc += factor * (a + b);
        }
    }
}

wide! {
    /// `x[i] *= factor`
    pub(super) fn scale(x: &mut [f32], factor: f32) {
        for x in x {
            *x *= factor;
        }
    }
}

wide! {
    /// The largest bit pattern of `x` without the signs: orders as magnitudes do, infinity and NaN on top.
    pub(super) fn max_abs_bits(x: &[f32]) -> u32 {
        // Without their signs they are ordered alike as signed integers, for which SSE2 has the comparison.
        x.iter().fold(0, |max, x| i32::max(max, x.to_bits() as i32 & i32::MAX)) as u32
    }
}
