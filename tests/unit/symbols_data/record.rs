// What Rust adds to names: mangling, modules, enums with data.
use std::hint::black_box;

pub mod inner {
    #[derive(Debug)]
    pub enum Shape {
        Empty,
        Circle(u32),
        Square { side: u64, tag: u8 },
    }
    #[inline(never)]
    pub fn area(shape: &Shape) -> u64 {
        match shape {
            Shape::Empty => 0,
            Shape::Circle(r) => 3 * (*r as u64) * (*r as u64),
            Shape::Square { side, .. } => side * side,
        }
    }
    pub static mut COUNTER: u64 = 7;
    pub static CIRCLE: Shape = Shape::Circle(12);
    pub static SQUARE: Shape = Shape::Square { side: 9, tag: 3 };
    pub static EMPTY: Shape = Shape::Empty;
}

fn main() {
    let shapes = [&inner::CIRCLE, &inner::SQUARE, &inner::EMPTY];
    let mut sum = 0;
    for shape in black_box(shapes) {
        sum += inner::area(black_box(shape));
        unsafe { inner::COUNTER += 1 };
    }
    println!("{sum}");
}
