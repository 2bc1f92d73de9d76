//! Properties of the codecs: any bits in, any bytes back.

use proptest::collection::vec;
use proptest::prelude::*;
use shoal_protocol::math::codec::{BLOCK, BLOCK_MAX, Codec, Coder, Context, LIMIT, all_finite};

/// Every codec, those that depend on their chunk on any.
fn codec() -> impl Strategy<Value = Coder> {
    let context = (any::<u64>(), any::<u64>(), any::<u64>(), 0..=12u32, 1..70u32, 1..=9u32);
    let context = context.prop_map(|(seed, chunk, turn, log, columns, rank)| Context {
        seed,
        chunk,
        turn,
        first: 0,
        one_of: 1 << log,
        columns,
        rank,
    });
    (proptest::sample::select(&Codec::ALL[..]), context).prop_map(|(codec, at)| codec.on(at))
}

/// Any float at all, ordinary ones most of the time.
fn any_float() -> impl Strategy<Value = f32> {
    prop_oneof![8 => -1.0f32..1.0, 1 => any::<u32>().prop_map(f32::from_bits), 1 => Just(0.0)]
}

/// Lengths about the ends of blocks, and others.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0..200usize,
        2 => BLOCK - 1..BLOCK + 2,
        2 => 2 * BLOCK - 1..2 * BLOCK + 2,
        4 => 0..3 * BLOCK,
        1 => BLOCK_MAX - 1..BLOCK_MAX + 2,
        1 => 2 * BLOCK_MAX - 1..2 * BLOCK_MAX + 2,
    ]
}

fn any_floats() -> impl Strategy<Value = Vec<f32>> {
    length().prop_flat_map(|n| vec(any_float(), n))
}

fn encoded(codec: Coder, input: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec.encode(input, &mut bytes);
    bytes
}

fn decoded(codec: Coder, bytes: &[u8], n: usize) -> Vec<f32> {
    let mut out = vec![0.0; n];
    codec.decode(bytes, &mut out).expect("what an encoder wrote");
    out
}

fn limited(x: &f32) -> f32 {
    if x.is_nan() { 0.0 } else { x.clamp(-LIMIT, LIMIT) }
}

/// The dense codecs' definition, one element at a time and without tricks; what a sparse one writes stands in its own tests.
fn encoded_by_hand(codec: Coder, input: &[f32]) -> Vec<u8> {
    match codec.codec {
        Codec::F32 => input.iter().flat_map(|x| limited(x).to_le_bytes()).collect(),
        Codec::Bf16 => input.iter().flat_map(|x| nearest_bf16(limited(x)).to_le_bytes()).collect(),
        Codec::Int8 => input.chunks(BLOCK).flat_map(int8_block_by_hand).collect(),
        Codec::Fp4 => input.chunks(BLOCK).flat_map(fp4_block_by_hand).collect(),
        Codec::Sign => input.chunks(BLOCK).flat_map(sign_block_by_hand).collect(),
        _ => encoded(codec, input),
    }
}

/// Of the two bfloat16 about `x` the nearer one; of two as near the even one.
fn nearest_bf16(x: f32) -> u16 {
    let below = (x.to_bits() >> 16) as u16;
    let distance =
        |half: u16| (f64::from(f32::from_bits(u32::from(half) << 16)) - f64::from(x)).abs();
    let (low, high) = (distance(below), distance(below + 1));
    if low < high || low == high && below.is_multiple_of(2) { below } else { below + 1 }
}

fn largest(block: &[f32]) -> f32 {
    block.iter().map(limited).fold(0.0, |max, x| f32::max(max, x.abs()))
}

fn int8_block_by_hand(block: &[f32]) -> Vec<u8> {
    let largest = largest(block);
    let zeros = largest < 2.0f32.powi(-118);
    let scale = if zeros { 0.0 } else { largest / 127.0 };
    let inverse = if zeros { 0.0 } else { 1.0 / scale };
    let quantum = |x: &f32| (limited(x) * inverse).round_ties_even() as i8 as u8;
    scale.to_le_bytes().into_iter().chain(block.iter().map(quantum)).collect()
}

fn fp4_block_by_hand(block: &[f32]) -> Vec<u8> {
    let scale = if largest(block) < 2.0f32.powi(-118) { 0.0 } else { largest(block) };
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let power = |code: i32| if code == 0 { 0.0 } else { 2.0f64.powi(code - 7) };
    let code = |x: &f32| {
        let y = limited(x) * inverse;
        let distance = |code: &i32| (power(*code) - f64::from(y.abs())).abs();
        // The last of the nearest is the larger.
        let nearest = (0..8).rev().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        nearest.unwrap() as u8 | u8::from(y.is_sign_negative()) << 3
    };
    let (low, high) = block.split_at(block.len().div_ceil(2));
    let pair = |(i, x): (usize, &f32)| code(x) | high.get(i).map_or(0, code) << 4;
    scale.to_le_bytes().into_iter().chain(low.iter().enumerate().map(pair)).collect()
}

fn sign_block_by_hand(block: &[f32]) -> Vec<u8> {
    let mut sums = [0.0_f32; 16];
    block.iter().enumerate().for_each(|(i, x)| sums[i % 16] += limited(x).abs());
    for width in [8, 4, 2, 1] {
        (0..width).for_each(|i| sums[i] += sums[i + width]);
    }
    let mean = sums[0] / block.len() as f32;
    let mut words = vec![if mean < 2.0f32.powi(-118) { 0 } else { mean.to_bits() }];
    let w = block.len().div_ceil(32);
    words.resize(1 + w, 0);
    for (i, x) in block.iter().enumerate() {
        words[1 + i % w] |= u32::from(limited(x).is_sign_negative()) << (i / w);
    }
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The largest rounding error of element `i` that `codec` may make, for inputs within the limit.
fn tolerance(codec: Coder, input: &[f32], i: usize) -> f32 {
    let largest = largest(&input[i / BLOCK * BLOCK..input.len().min((i / BLOCK + 1) * BLOCK)]);
    match codec.codec {
        Codec::F32 => 0.0,
        Codec::Bf16 => input[i].abs() / 256.0 + f32::MIN_POSITIVE,
        Codec::Int8 => largest / 254.0 * (1.0 + 1e-5) + 2.0f32.powi(-118),
        Codec::Fp4 => f32::max(input[i].abs() / 3.0, largest / 128.0) * 1.00001 + 2.0f32.powi(-118),
        Codec::Sign => largest * 1.00001 + 2.0f32.powi(-118),
        _ => f32::INFINITY,
    }
}

/// The square of the error's norm over that of the input's, block by block: the largest.
fn lost(codec: Coder, input: &[f32], back: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let block = codec.block().unwrap_or(input.len().max(1));
    let blocks = input.chunks(block).zip(back.chunks(block));
    let lost = blocks.map(|(x, y)| {
        let whole: f64 = x.iter().map(|x| square(f64::from(*x))).sum();
        let rest: f64 = x.iter().zip(y).map(|(x, y)| square(f64::from(*x) - f64::from(*y))).sum();
        if rest == 0.0 { 0.0 } else { rest / whole }
    });
    lost.fold(0.0, f64::max)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

proptest! {
    #[test]
    fn encoding_is_its_definition_and_always_decodes(codec in codec(), input in any_floats()) {
        let bytes = encoded(codec, &input);
        prop_assert_eq!(&bytes, &encoded_by_hand(codec, &input));
        prop_assert_eq!(bytes.len(), codec.encoded_len(input.len()));
        prop_assert!(decoded(codec, &bytes, input.len()).iter().all(|x| x.abs() <= LIMIT));
    }

    #[test]
    fn decoding_is_near(codec in codec(), input in any_floats()) {
        let input: Vec<f32> = input.iter().map(limited).collect();
        let back = decoded(codec, &encoded(codec, &input), input.len());
        for (i, (x, y)) in input.iter().zip(&back).enumerate() {
            prop_assert!((x - y).abs() <= tolerance(codec, &input, i), "{i}: {x} {y}");
        }
        // What is not carried is never more than what there was: error feedback needs no more than that.
        prop_assert!(lost(codec, &input, &back) <= 1.0 + 1e-4, "{}", lost(codec, &input, &back));
    }

    #[test]
    fn any_bytes_are_read_whole_or_refused_whole(
        codec in codec(), n in length(), seed in vec(any::<u8>(), 64), wild in any::<bool>(), extra in -1..2isize,
    ) {
        let len = (codec.encoded_len(n) as isize + if wild { extra } else { 0 }).max(0) as usize;
        let bytes: Vec<u8> = seed.iter().copied().cycle().take(len).collect();
        let (mut out, mut acc) = (vec![5.0; n], vec![5.0; n]);
        let read = codec.decode(&bytes, &mut out);
        prop_assert_eq!(read, codec.accumulate(&bytes, 1.0, &mut acc));
        prop_assert_eq!(read, codec.check(&bytes, n));
        prop_assert!(all_finite(&out) && all_finite(&acc));
        if read.is_err() {
            prop_assert_eq!((&out, &acc), (&vec![5.0; n], &vec![5.0; n]));
        }
    }

    /// Nearly what an encoder writes: one byte is another.
    #[test]
    fn a_spoilt_message_is_read_whole_or_refused_whole(
        codec in codec(), input in any_floats(), at in any::<prop::sample::Index>(), by in 1..=255u8,
    ) {
        let mut bytes = encoded(codec, &input);
        prop_assume!(!bytes.is_empty());
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        let (mut out, mut acc) = (vec![5.0; input.len()], vec![5.0; input.len()]);
        let read = codec.decode(&bytes, &mut out);
        prop_assert_eq!(read, codec.accumulate(&bytes, 1.0, &mut acc));
        // An int8 can be -128, which no encoder writes.
        let most = if [Codec::Int8, Codec::Powersgd].contains(&codec.codec) { LIMIT / 127.0 * 128.0 } else { LIMIT };
        prop_assert!(out.iter().all(|x| x.abs() <= most));
        if read.is_err() {
            prop_assert_eq!((&out, &acc), (&vec![5.0; input.len()], &vec![5.0; input.len()]));
        }
    }

    #[test]
    fn tight_is_the_same_in_fewer_bytes(input in any_floats()) {
        let n = input.len();
        let [plain, tight] = [Codec::Topk, Codec::TopkTight].map(|codec| encoded(codec.into(), &input));
        let [a, b] = [decoded(Codec::Topk.into(), &plain, n), decoded(Codec::TopkTight.into(), &tight, n)];
        prop_assert_eq!(bits(&a), bits(&b));
        prop_assert!(tight.len() <= plain.len());
    }

    /// Kept are the largest, the first among equals, and of zeros nothing.
    #[test]
    fn topk_keeps_the_largest(input in any_floats()) {
        let back = decoded(Codec::Topk.into(), &encoded(Codec::Topk.into(), &input), input.len());
        for (block, back) in input.chunks(BLOCK_MAX).zip(back.chunks(BLOCK_MAX)) {
            let magnitude = |i: &usize| limited(&block[*i]).abs();
            let mut order: Vec<usize> = (0..block.len()).collect();
            order.sort_by(|a, b| magnitude(b).total_cmp(&magnitude(a)));
            let dropped = order.split_off(block.len().div_ceil(64));
            prop_assert!(dropped.iter().all(|i| back[*i] == 0.0));
            prop_assert!((0..block.len()).all(|i| back[i] == 0.0 || limited(&block[i]) != 0.0 && back[i].is_sign_negative() == block[i].is_sign_negative()));
            let mut magnitudes: Vec<u32> = back.iter().map(|x| x.abs().to_bits()).filter(|x| *x > 0).collect();
            magnitudes.sort();
            magnitudes.dedup();
            prop_assert!(magnitudes.len() <= 2);
        }
    }

    #[test]
    fn accumulating_is_decoding_then_adding(codec in codec(), input in any_floats(), weight in -2.0f32..2.0) {
        let bytes = encoded(codec, &input);
        let mut acc: Vec<f32> = (0..input.len()).map(|i| i as f32 * 0.3 - 7.0).collect();
        let decoded = decoded(codec, &bytes, input.len());
        let want: Vec<f32> = acc.iter().zip(&decoded).map(|(a, x)| a + weight * x).collect();
        codec.accumulate(&bytes, weight, &mut acc).expect("what an encoder wrote");
        prop_assert_eq!(bits(&acc), bits(&want));
    }

    #[test]
    fn whole_blocks_stand_alone(codec in codec(), input in any_floats(), block in 0..4usize) {
        let Some(elems) = codec.block() else { return Ok(()) };
        let at = (block * elems).min(input.len() / elems * elems);
        let whole = encoded(codec, &input);
        prop_assert_eq!(&whole[codec.byte_range(0..at)], &encoded(codec, &input[..at])[..]);
        let rest = encoded(codec.after(at), &input[at..]);
        prop_assert_eq!(&whole[codec.byte_range(at..input.len())], &rest[..]);
    }

    #[test]
    fn finiteness_is_every_elements(input in any_floats()) {
        prop_assert_eq!(all_finite(&input), input.iter().all(|x| x.is_finite()));
    }
}
