//! What a student loses against its teacher: `weight * T^2 * KL + (1 - weight) * cross-entropy + hidden * MSE`.
//!
//! Source: Hinton et al. 2015 (arXiv 1503.02531), section 2; hidden states with a linear map as in TinyBERT (arXiv 1909.10351,
//! equation 8), where the map is the best one for the batch and not a weight of its own.

use crate::data::Told;
use crate::model::Llama;
use crate::store::teacher::Teacher;
use shoal_protocol::run::{Direction, DistillSpec};
use tch::{Device, Kind, Reduction, TchError, Tensor, no_grad};

/// Keeps the map finite where hidden states span less than their width, as a share of their mean square.
const RIDGE: f64 = 1e-4;

const NO_TENSOR: Option<Tensor> = None;

/// Keeps logarithms finite of what a teacher leaves for the tokens that nothing is told of.
const LEFT_MIN: f64 = 1e-6;
/// The logarithm of no probability, finite as well.
const NOTHING: f64 = -1e30;

/// What a student learns from a teacher.
pub struct Lesson {
    /// On the student's device; without it, it learns from what others tell.
    teacher: Option<Llama>,
    spec: DistillSpec,
}

impl Lesson {
    /// Puts the teacher on `device`.
    ///
    /// # Errors
    /// The device has too little memory, or the teacher's parameters are not those of its shape.
    pub fn new(teacher: &Teacher, spec: &DistillSpec, device: Device) -> Result<Lesson, TchError> {
        let mut model = Llama::new(&teacher.model, device)?;
        model.load_flat(&teacher.params)?;
        Ok(Lesson { teacher: Some(model), spec: spec.clone() })
    }

    /// From a teacher that others hold: what it says comes with each batch.
    pub fn told(spec: &DistillSpec) -> Lesson {
        Lesson { teacher: None, spec: spec.clone() }
    }

    /// The loss of a student, a scalar. `inputs` and `targets`: `[B, T]` i64; `told`: what others tell of them.
    ///
    /// # Errors
    /// Shapes do not fit, nobody told what the teacher says and it is not here, or the device failed.
    pub fn loss(
        &self,
        student: &Llama,
        inputs: &Tensor,
        targets: &Tensor,
        told: Option<&Told>,
    ) -> Result<Tensor, TchError> {
        let (ours, our_logits) = student.hidden_and_logits(inputs)?;
        let learned = match (&self.teacher, told) {
            (Some(teacher), _) => self.against(teacher, inputs, &ours, &our_logits)?,
            (None, Some(told)) => self.against_told(told, &our_logits)?,
            (None, None) => return Err(TchError::Shape("nothing was told of a batch".into())),
        };
        let text = cross_entropy(&our_logits, targets)?;
        learned.f_add(&text.f_mul_scalar(1.0 - f64::from(self.spec.weight))?)
    }

    fn against(
        &self,
        teacher: &Llama,
        inputs: &Tensor,
        ours: &Tensor,
        our_logits: &Tensor,
    ) -> Result<Tensor, TchError> {
        let DistillSpec { weight, hidden, temperature, direction, .. } = self.spec;
        let (theirs, their_logits) = no_grad(|| teacher.hidden_and_logits(inputs))?;
        let soft = divergence(&their_logits, our_logits, f64::from(temperature), direction)?;
        let soft = soft.f_mul_scalar(f64::from(weight))?;
        if hidden == 0.0 {
            return Ok(soft);
        }
        let apart = apart(&flat(&theirs)?, &flat(ours)?)?;
        soft.f_add(&apart.f_mul_scalar(f64::from(hidden))?)
    }

    fn against_told(&self, told: &Told, our_logits: &Tensor) -> Result<Tensor, TchError> {
        let DistillSpec { weight, temperature, direction, .. } = self.spec;
        let soft = divergence_from_told(told, our_logits, f64::from(temperature), direction)?;
        soft.f_mul_scalar(f64::from(weight))
    }
}

/// `[.., n]` -> `[rows, n]` f32
fn flat(x: &Tensor) -> Result<Tensor, TchError> {
    let last = x.size().last().copied().unwrap_or(1);
    x.f_to_kind(Kind::Float)?.f_reshape([-1, last])
}

fn cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor, TchError> {
    let targets = targets.f_reshape([-1])?;
    flat(logits)?.f_cross_entropy_loss(&targets, NO_TENSOR, Reduction::Mean, -100, 0.0)
}

/// `T^2 * KL` of the softened distributions, mean over tokens, in nats. Logits: `[.., vocab]`.
fn divergence(
    teacher: &Tensor,
    student: &Tensor,
    temperature: f64,
    direction: Direction,
) -> Result<Tensor, TchError> {
    let soft =
        |logits: &Tensor| flat(logits)?.f_div_scalar(temperature)?.f_log_softmax(-1, Kind::Float);
    kl(&soft(teacher)?, &soft(student)?, temperature, direction)
}

/// The same from what was told of the teacher, softened already. The tokens that nothing is told of count as one, so that it is at most
/// the divergence of the whole distributions, and 0 only if both agree on what was told.
fn divergence_from_told(
    told: &Told,
    student: &Tensor,
    temperature: f64,
    direction: Direction,
) -> Result<Tensor, TchError> {
    let student = flat(student)?.f_div_scalar(temperature)?.f_log_softmax(-1, Kind::Float)?;
    let (places, vocab) = student.size2()?;
    let on_device = |x: Tensor| x.f_view([places, -1])?.f_to(student.device());
    let tokens = on_device(Tensor::f_from_slice(&told.tokens)?)?;
    let theirs = on_device(Tensor::f_from_slice(&told.log_probabilities())?)?;
    let ours = student.f_gather(1, &tokens, false)?;
    if tokens.size()[1] == vocab {
        return kl(&theirs, &ours, temperature, direction);
    }
    let told = theirs.f_exp()?.f_sum_dim_intlist(1, true, Kind::Float)?;
    let their_rest = told.f_neg()?.f_add_scalar(1.0)?.f_clamp_min(LEFT_MIN)?.f_log()?;
    let our_rest = student.f_scatter_value(1, &tokens, NOTHING)?.f_logsumexp(1, true)?;
    let theirs = Tensor::f_cat(&[&theirs, &their_rest], 1)?;
    let ours = Tensor::f_cat(&[&ours, &our_rest], 1)?;
    kl(&theirs, &ours, temperature, direction)
}

/// `T^2 * KL`, mean over places, of log-probabilities `[places, n]`.
fn kl(
    teacher: &Tensor,
    student: &Tensor,
    temperature: f64,
    direction: Direction,
) -> Result<Tensor, TchError> {
    let (of, against) = match direction {
        Direction::Forward => (teacher, student),
        Direction::Reverse => (student, teacher),
    };
    let each = of.f_exp()?.f_mul(&of.f_sub(against)?)?;
    let rows = each.size()[0] as f64;
    each.f_sum(Kind::Float)?.f_mul_scalar(temperature * temperature / rows)
}

/// Mean squared distance of the teacher's hidden states, `[rows, their width]`, from the student's, `[rows, our width]`. Where widths
/// differ the student's are mapped linearly first, by the map that fits the batch best (least squares).
fn apart(teacher: &Tensor, student: &Tensor) -> Result<Tensor, TchError> {
    let mapped = if teacher.size() == student.size() {
        student.shallow_clone()
    } else {
        // At the best map the loss does not change with the map: its gradient by the student needs none through the map.
        student.f_matmul(&no_grad(|| best_map(teacher, student))?)?
    };
    mapped.f_sub(teacher)?.f_square()?.f_mean(Kind::Float)
}

/// `[our width, their width]`
fn best_map(teacher: &Tensor, student: &Tensor) -> Result<Tensor, TchError> {
    let width = student.size()[1];
    let own = student.f_tr()?.f_matmul(student)?;
    let ridge = own.f_trace()?.f_double_value(&[])? / width as f64 * RIDGE + 1e-12;
    let eye = Tensor::f_eye(width, (Kind::Float, student.device()))?;
    let own = own.f_add(&eye.f_mul_scalar(ridge)?)?;
    Tensor::f_linalg_solve(&own, &student.f_tr()?.f_matmul(teacher)?, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::initial_params;
    use crate::train::trainer::test_spec;
    use shoal_protocol::id::Digest;
    use shoal_protocol::run::ModelSpec;

    fn value(x: &Tensor) -> f64 {
        x.double_value(&[])
    }

    #[test]
    fn divergences_by_hand() {
        // Teacher 3/4, 1/4; student 1/2, 1/2.
        let teacher = Tensor::from_slice(&[3f32.ln(), 0.0]).view([1, 2]);
        let student = Tensor::from_slice(&[0f32, 0.0]).view([1, 2]);
        let of = |t, direction| value(&divergence(&teacher, &student, t, direction).unwrap());
        let forward = 0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln();
        let reverse = 0.5 * (0.5f64 / 0.75).ln() + 0.5 * (0.5f64 / 0.25).ln();
        assert!((of(1.0, Direction::Forward) - forward).abs() < 1e-6);
        assert!((of(1.0, Direction::Reverse) - reverse).abs() < 1e-6);
        // Softened by 2 the teacher's odds are the root of 3.
        let p = 3f64.sqrt() / (1.0 + 3f64.sqrt());
        let softened = 4.0 * (p * (2.0 * p).ln() + (1.0 - p) * (2.0 * (1.0 - p)).ln());
        assert!((of(2.0, Direction::Forward) - softened).abs() < 1e-6);
        assert!(
            value(&divergence(&teacher, &teacher, 3.0, Direction::Reverse).unwrap()).abs() < 1e-7
        );
    }

    /// Teacher 1/2, 1/4, 1/8, 1/8; student 1/4 each.
    #[test]
    fn what_was_told_diverges_as_the_whole_does_or_less() {
        let probabilities = [0.5f32, 0.25, 0.125, 0.125];
        let logits = Tensor::from_slice(&probabilities.map(f32::ln)).view([1, 4]);
        let student = Tensor::from_slice(&[0f32; 4]).view([1, 4]);
        let told = |top: usize| {
            let nats = probabilities.map(|p| -p.ln());
            Told::new((0..top as i64).collect(), &nats[..top])
        };
        for direction in [Direction::Forward, Direction::Reverse] {
            let of =
                |top| value(&divergence_from_told(&told(top), &student, 1.0, direction).unwrap());
            let whole = value(&divergence(&logits, &student, 1.0, direction).unwrap());
            assert!((of(4) - whole).abs() < 1e-3, "{direction:?}");
            assert!((of(2) - whole).abs() < 1e-3, "the rest is even: {direction:?}");
            assert!(of(1) > 0.0 && of(1) < whole, "{direction:?}");
        }
        // One token told: ln 2 of 1/2, and 1/2 against 3/4 for the rest.
        let by_hand = 0.5 * 2f64.ln() + 0.5 * (0.5f64 / 0.75).ln();
        let one = divergence_from_told(&told(1), &student, 1.0, Direction::Forward).unwrap();
        assert!((value(&one) - by_hand).abs() < 1e-3);
        // A student that is sure of what was told has nothing left for the rest, and still a gradient.
        let sure = Tensor::from_slice(&[60f32, 0.0, 0.0, 0.0]).view([1, 4]).set_requires_grad(true);
        let loss = divergence_from_told(&told(1), &sure, 1.0, Direction::Forward).unwrap();
        loss.backward();
        assert!(value(&loss).is_finite() && value(&sure.grad().norm()) > 0.1);
    }

    #[test]
    fn what_a_linear_map_can_tell_costs_nothing() {
        let options = (Kind::Float, Device::Cpu);
        let (ours, map) = (Tensor::randn([64, 6], options), Tensor::randn([6, 9], options));
        let theirs = ours.matmul(&map);
        assert!(value(&apart(&theirs, &ours).unwrap()) < 1e-4);
        let other = Tensor::randn([64, 9], options);
        assert!(value(&apart(&other, &ours).unwrap()) > 0.5);
        assert_eq!(value(&apart(&other, &other).unwrap()), 0.0);
        assert!((value(&apart(&other, &(&other + 2.0)).unwrap()) - 4.0).abs() < 1e-5);
    }

    #[test]
    fn a_student_that_is_its_teacher_loses_the_text_s_share_alone() {
        let spec = test_spec();
        let params = initial_params(&spec.model, 1);
        let teacher = Teacher { model: spec.model.clone(), params: params.clone() };
        let distill = DistillSpec {
            teacher: Digest::default(),
            pieces: None,
            temperature: 2.0,
            weight: 0.75,
            direction: Direction::Forward,
            hidden: 1.0,
            top: None,
        };
        let lesson = Lesson::new(&teacher, &distill, Device::Cpu).unwrap();
        let mut student = Llama::new(&spec.model, Device::Cpu).unwrap();
        student.load_flat(&params).unwrap();
        let tokens = Tensor::from_slice(&[1i64, 2, 3, 4, 5]).view([1, 5]);
        let (inputs, targets) = (tokens.narrow(1, 0, 4), tokens.narrow(1, 1, 4));
        let (own, text) = (
            lesson.loss(&student, &inputs, &targets, None).unwrap(),
            student.loss(&inputs, &targets).unwrap(),
        );
        assert!((value(&own) - 0.25 * value(&text)).abs() < 1e-5);
        // A narrower student learns as well: the gradient reaches all of it.
        let small =
            ModelSpec { dim: 16, heads: 2, kv_heads: 1, hidden: 20, layers: 1, ..spec.model };
        let mut student = Llama::new(&small, Device::Cpu).unwrap();
        student.load_flat(&initial_params(&small, 2)).unwrap();
        let loss = lesson.loss(&student, &inputs, &targets, None).unwrap();
        let gradient = student.learn_by(&loss).unwrap().gradient;
        assert!(value(&gradient.norm()) > 0.0 && value(&loss).is_finite());
    }
}
