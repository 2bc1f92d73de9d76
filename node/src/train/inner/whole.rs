//! The element-wise steps as operations on whole vectors, for devices that are no CPU.

use shoal_protocol::math::inner::{Adam, AdamW, RmsProp, Rule, Sgd};
use tch::{TchError, Tensor};

/// One step of `params` and `state` by `gradient`, `[n]` f32 each, as [`Rule::step`] takes it.
pub(super) fn step(
    rule: &Rule,
    params: &mut Tensor,
    state: &mut [Tensor],
    gradient: &Tensor,
) -> Result<(), TchError> {
    match (rule, state) {
        (Rule::Sgd(rule), momentum) => sgd(rule, params, momentum.first_mut(), gradient),
        (Rule::Adam(rule), [first, second]) => adam(rule, 1.0, params, [first, second], gradient),
        (Rule::AdamW(AdamW { adam: rule, keep }), [first, second]) => {
            adam(rule, *keep, params, [first, second], gradient)
        }
        (Rule::RmsProp(rule), [second, momentum @ ..]) => {
            rmsprop(rule, params, second, momentum.first_mut(), gradient)
        }
        _ => unreachable!("as many vectors of state were made as the rule keeps"),
    }
}

fn sgd(
    f: &Sgd,
    params: &mut Tensor,
    momentum: Option<&mut Tensor>,
    gradient: &Tensor,
) -> Result<(), TchError> {
    let gradient = decayed(gradient, f.gradient, params, f.decay)?;
    let along = match momentum {
        None => gradient,
        Some(momentum) => {
            let _ = times(momentum, f.momentum)?.f_add_(&gradient)?;
            let ahead = || gradient.f_add(&momentum.f_mul_scalar(f64::from(f.momentum))?);
            if f.nesterov { ahead()? } else { momentum.shallow_clone() }
        }
    };
    descend(params, &along, f.lr)
}

/// `keep` is what the parameters keep of themselves.
fn adam(
    f: &Adam,
    keep: f32,
    params: &mut Tensor,
    [first, second]: [&mut Tensor; 2],
    gradient: &Tensor,
) -> Result<(), TchError> {
    let gradient = decayed(gradient, f.gradient, params, f.decay)?;
    let (beta1, beta2) = f.betas;
    let fresh = gradient.f_mul_scalar(f64::from(1.0 - beta1))?;
    let _ = times(first, beta1)?.f_add_(&fresh)?;
    add_square(second, beta2, &gradient)?;
    let mut root = second.f_sqrt()?;
    let root = times(&mut root, f.root)?.f_add_scalar_(f64::from(f.eps))?;
    let along = first.f_div(&root)?;
    descend(&mut times(params, keep)?, &along, f.rate)
}

fn rmsprop(
    f: &RmsProp,
    params: &mut Tensor,
    second: &mut Tensor,
    momentum: Option<&mut Tensor>,
    gradient: &Tensor,
) -> Result<(), TchError> {
    let gradient = decayed(gradient, f.gradient, params, f.decay)?;
    add_square(second, f.alpha, &gradient)?;
    let along = gradient.f_div(&second.f_sqrt()?.f_add_scalar_(f64::from(f.eps))?)?;
    match momentum {
        None => descend(params, &along, f.lr),
        Some(momentum) => {
            let momentum = times(momentum, f.momentum)?.f_add_(&along)?;
            descend(params, &momentum, f.lr)
        }
    }
}

/// The gradient, clipped by `factor`, with L2 weight decay.
fn decayed(
    gradient: &Tensor,
    factor: f32,
    params: &Tensor,
    decay: f32,
) -> Result<Tensor, TchError> {
    let gradient = gradient.f_mul_scalar(f64::from(factor))?;
    if decay == 0.0 {
        return Ok(gradient);
    }
    gradient.f_add(&params.f_mul_scalar(f64::from(decay))?)
}

/// `second = beta * second + (1 - beta) * gradient^2`
fn add_square(second: &mut Tensor, beta: f32, gradient: &Tensor) -> Result<(), TchError> {
    let square = gradient.f_square()?.f_mul_scalar(f64::from(1.0 - beta))?;
    times(second, beta)?.f_add_(&square).map(drop)
}

/// `params -= lr * along`
fn descend(params: &mut Tensor, along: &Tensor, lr: f32) -> Result<(), TchError> {
    params.f_add_(&along.f_mul_scalar(f64::from(-lr))?).map(drop)
}

/// `tensor *= factor`; the same tensor again.
fn times(tensor: &mut Tensor, factor: f32) -> Result<Tensor, TchError> {
    tensor.f_mul_scalar_(f64::from(factor))
}
