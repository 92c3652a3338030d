// Templates, inlining, namespaces, references, bit-fields, static members: what C++ adds to names and types.
#include <cstdio>

namespace shapes {
struct Point {
    int x, y;
};
struct Base {
    int id = 4;
};
template <typename T> struct Box : Base {
    T value;
    static int made;
    explicit Box(T v) : value(v) { made++; }
    __attribute__((noinline)) T get() const { return value; }
    T twice() const { return get() + get(); }
};
template <typename T> int Box<T>::made = 0;
int total = 3;
namespace {
int hidden = 9;
}
enum class Colour : unsigned char { red, green = 4 };
Colour colour = Colour::green;
Point points[3] = {{1, 2}, {3, 4}, {5, 6}};
Point &second = points[1];
Box<int> box(5);
bool flag = true;
wchar_t wide = L'x';
} // namespace shapes

static inline __attribute__((always_inline)) int innermost(int a) { return a * shapes::total + shapes::hidden; }
static inline __attribute__((always_inline)) int middle(int a) { return innermost(a + 1) ^ 5; }
__attribute__((noinline)) int outermost(int a) { return middle(a) + middle(a * 2); }

int main(int argc, char **) {
    shapes::Box<int> other(argc);
    std::printf("%d %d\n", outermost(argc), other.twice() + shapes::box.get() + shapes::second.x + shapes::wide);
    return 0;
}
