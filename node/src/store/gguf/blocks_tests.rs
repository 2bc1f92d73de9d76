//! Blocks against what the reference makes of the same numbers, and there and back.

use super::*;
use proptest::prelude::*;

/// What the fixtures were made of: no number of it needs rounding.
fn sample(elements: usize) -> Vec<f32> {
    let number = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 64.0 * ((1 + i / 32) as f32 / 8.0);
    (0..elements).map(number).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// By `gguf.quants.quantize` 0.19.0, and by `ggml_quantize_chunk` of llama.cpp b11549, which alone writes `q4_k`.
#[test]
fn bytes_are_those_of_ggml() {
    let rows = [
        (
            Encoding::Q8_0,
            64,
            "4d1281df3d9af856b41270cd2b89e745a2005ebb1977d53390ee4caa0866c3217fdc2c163c96f656b0106fca2984e3439efd5db71777d1318beb4ba50565bf1f7fd93993",
        ),
        (
            Encoding::Q4_0,
            64,
            "4022e046acf258bd1379df358be046acf26820a6740fb953fd9731eb852fca640ea842fd",
        ),
        (
            Encoding::Q4K,
            256,
            "bc162b228890d8de888fd7df68ee78ffa0156bc1278cd3489e045ab0167bc2378de349ae056ab1267cd2389de459af15268ce248ad0469b0157bd1379cf348ae046ac0268bd2379df359be156ac1268c9df359be157ac1268ce248ad0459b0157bd1379ce348ae046ac0267bd2379df3156ac1268cd2489df459b0157bc1378ce348ae046ab0267bd2379de359ae156a",
        ),
    ];
    for (encoding, elements, expected) in rows {
        let mut bytes = Vec::new();
        encoding.encode(&sample(elements), &mut bytes);
        assert_eq!(hex(&bytes), expected, "{encoding:?}");
        assert_eq!(bytes.len(), encoding.bytes(elements));
    }
}

/// `gguf.quants.dequantize` of the bytes above.
#[test]
fn a_reader_gets_what_ggmls_gets() {
    let mut bytes = Vec::new();
    Encoding::Q4K.encode(&sample(256), &mut bytes);
    let read = Encoding::Q4K.decode(&bytes);
    assert_eq!(read[..4], [-0.096_374_51, -0.030_609_13, 0.048_309_326, -0.083_221_436]);
    assert_eq!(read[252..], [-0.241_046_9, 0.276_855_47, -0.655_368_8, -0.137_466_43]);
}

#[test]
fn zeros_stay_zeros() {
    for encoding in Encoding::ALL {
        let mut bytes = Vec::new();
        encoding.encode(&[0.0; 256], &mut bytes);
        assert_eq!(encoding.decode(&bytes), [0.0; 256], "{encoding:?}");
    }
}

proptest! {
    /// Nothing is further off than its block's step allows.
    #[test]
    fn what_is_lost_is_bounded(row in prop::collection::vec(-8.0f32..8.0, 256)) {
        let most = row.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        // Shares of the largest element: a step, half of one where levels are rounded, and the scale's own rounding. An upper
        // half-step is cut off by q4_0, whose levels are not symmetric; q4_k's search may give up a whole step of a part, 2 / 15, for the rest.
        let bounds = [0.0, 5e-4, 4e-3, 0.5 / 127.0 + 1e-3, 1.0 / 8.0 + 1e-3, 2.0 / 15.0 + 0.03];
        for (encoding, bound) in Encoding::ALL.into_iter().zip(bounds) {
            let mut bytes = Vec::new();
            encoding.encode(&row, &mut bytes);
            let read = encoding.decode(&bytes);
            for (x, y) in row.iter().zip(&read) {
                prop_assert!((x - y).abs() <= bound * most, "{:?}: {} became {}", encoding, x, y);
            }
        }
    }

    /// What was read once is written to the same bytes again, where levels are exact multiples of the scale.
    #[test]
    fn floats_of_16_bits_come_back(row in prop::collection::vec(-8.0f32..8.0, 64)) {
        for encoding in [Encoding::F32, Encoding::F16, Encoding::Bf16] {
            let (mut once, mut again) = (Vec::new(), Vec::new());
            encoding.encode(&row, &mut once);
            encoding.encode(&encoding.decode(&once), &mut again);
            prop_assert_eq!(&once, &again);
        }
    }
}
