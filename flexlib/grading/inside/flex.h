// How values pass between a judge's and a candidate's C++ program: as plain data.
//
// A frame is a 4-byte length and that many bytes; a value is its bytes, by its static type. The
// reader checks every length. A type that is no plain data (a union, a function) fails to compile
// at "flex_not_plain_data".

#pragma once

#include <assert.h>
#include <bits/stdc++.h>
#include <sys/syscall.h>

namespace flex {

extern "C" long syscall(long, ...) noexcept;

constexpr int LINK = 3;
constexpr std::size_t FRAME_LIMIT = 64u << 20;

enum Ending { RAISED = 101, GONE = 102, BROKEN = 103, LARGE = 104, MEMORY = 105 };

[[noreturn]] inline void leave(Ending ending, const std::string& why) {
    syscall(SYS_write, 2, why.data(), why.size());
    for (;;) syscall(SYS_exit_group, (int)ending);
}

struct Broken : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// The candidate's exception, in the judge.
struct Raised : std::runtime_error {
    using std::runtime_error::runtime_error;
};

inline bool read_all(char* to, std::size_t size) {
    while (size) {
        long got = syscall(SYS_read, LINK, to, size);
        if (got <= 0) return false;
        to += got;
        size -= got;
    }
    return true;
}

inline bool write_all(const char* from, std::size_t size) {
    while (size) {
        long put = syscall(SYS_write, LINK, from, size);
        if (put <= 0) return false;
        from += put;
        size -= put;
    }
    return true;
}

inline bool send_frame(const std::string& body) {
    std::uint32_t size = body.size();
    return write_all((const char*)&size, 4) && write_all(body.data(), size);
}

// Returns whether the other side is still there; throws Broken for a frame over the limit.
inline bool receive_frame(std::string& body) {
    std::uint32_t size;
    if (!read_all((char*)&size, 4)) return false;
    if (size > FRAME_LIMIT) throw Broken("a value over the limit");
    body.resize(size);
    return read_all(body.data(), size);
}

struct Reader {
    const char* at;
    const char* end;

    void raw(void* to, std::size_t size) {
        if (size > (std::size_t)(end - at)) throw Broken("a value cut short");
        std::memcpy(to, at, size);
        at += size;
    }

    std::uint32_t count(std::size_t each) {
        std::uint32_t size;
        raw(&size, 4);
        if ((std::size_t)size * each > (std::size_t)(end - at)) throw Broken("a wrong length");
        return size;
    }
};

inline void put_raw(std::string& to, const void* from, std::size_t size) {
    to.append((const char*)from, size);
}

inline void put_count(std::string& to, std::size_t size) {
    std::uint32_t count = size;
    put_raw(to, &count, 4);
}

template <class T, class = void>
struct Code {
    static_assert(sizeof(T) == 0, "flex_not_plain_data");
};

template <class T>
void put(std::string& to, const T& value) {
    Code<T>::put(to, value);
}

template <class T>
T get(Reader& from) {
    return Code<T>::get(from);
}

template <class T>
struct Code<T, std::enable_if_t<std::is_arithmetic_v<T> || std::is_enum_v<T>>> {
    static void put(std::string& to, const T& value) { put_raw(to, &value, sizeof value); }
    static T get(Reader& from) {
        if constexpr (std::is_same_v<T, bool>) {
            unsigned char byte;
            from.raw(&byte, 1);
            return byte != 0;  // another byte in a bool would be undefined
        } else {
            T value;
            from.raw(&value, sizeof value);
            return value;
        }
    }
};

template <>
struct Code<std::nullopt_t> {
    static void put(std::string&, const std::nullopt_t&) {}
    static std::nullopt_t get(Reader&) { return std::nullopt; }
};

template <>
struct Code<const char*> {
    static void put(std::string& to, const char* value) { flex::put(to, std::string(value)); }
    static const char* get(Reader& from) {
        static std::deque<std::string> kept;
        return kept.emplace_back(flex::get<std::string>(from)).c_str();
    }
};

template <class C, class Item>
struct Sequence {
    static void put(std::string& to, const C& value) {
        put_count(to, value.size());
        for (const auto& item : value) flex::put<Item>(to, item);
    }
    static C get(Reader& from) {
        C value;
        for (auto left = from.count(1); left; left--)
            value.insert(value.end(), flex::get<Item>(from));
        return value;
    }
};

template <>
struct Code<std::string> {
    static void put(std::string& to, const std::string& value) {
        put_count(to, value.size());
        to += value;
    }
    static std::string get(Reader& from) {
        std::string value(from.count(1), '\0');
        from.raw(value.data(), value.size());
        return value;
    }
};

template <class T, class A>
struct Code<std::vector<T, A>> : Sequence<std::vector<T, A>, T> {};
template <class T>
struct Code<std::list<T>> : Sequence<std::list<T>, T> {};
template <class T>
struct Code<std::deque<T>> : Sequence<std::deque<T>, T> {};
template <class T, class C>
struct Code<std::set<T, C>> : Sequence<std::set<T, C>, T> {};
template <class T, class C>
struct Code<std::multiset<T, C>> : Sequence<std::multiset<T, C>, T> {};
template <class T, class H>
struct Code<std::unordered_set<T, H>> : Sequence<std::unordered_set<T, H>, T> {};
template <class K, class V, class C>
struct Code<std::map<K, V, C>> : Sequence<std::map<K, V, C>, std::pair<K, V>> {};
template <class K, class V, class H>
struct Code<std::unordered_map<K, V, H>>
    : Sequence<std::unordered_map<K, V, H>, std::pair<K, V>> {};

template <class A, class B>
struct Code<std::pair<A, B>> {
    static void put(std::string& to, const std::pair<A, B>& value) {
        flex::put<std::decay_t<A>>(to, value.first);
        flex::put(to, value.second);
    }
    static std::pair<A, B> get(Reader& from) {
        auto first = flex::get<std::decay_t<A>>(from);
        return {std::move(first), flex::get<B>(from)};
    }
};

template <class... T>
struct Code<std::tuple<T...>> {
    static void put(std::string& to, const std::tuple<T...>& value) {
        std::apply([&](const auto&... item) { (flex::put(to, item), ...); }, value);
    }
    static std::tuple<T...> get(Reader& from) { return std::tuple<T...>{flex::get<T>(from)...}; }
};

template <class T, std::size_t N>
struct Code<std::array<T, N>> {
    static void put(std::string& to, const std::array<T, N>& value) {
        for (const auto& item : value) flex::put(to, item);
    }
    static std::array<T, N> get(Reader& from) {
        std::array<T, N> value;
        for (auto& item : value) item = flex::get<T>(from);
        return value;
    }
};

template <class T>
struct Code<std::optional<T>> {
    static void put(std::string& to, const std::optional<T>& value) {
        flex::put(to, value.has_value());
        if (value) flex::put(to, *value);
    }
    static std::optional<T> get(Reader& from) {
        if (!flex::get<bool>(from)) return std::nullopt;
        return flex::get<T>(from);
    }
};

template <class... T>
struct Code<std::variant<T...>> {
    static void put(std::string& to, const std::variant<T...>& value) {
        put_count(to, value.index());
        std::visit([&](const auto& item) { flex::put(to, item); }, value);
    }
    static std::variant<T...> get(Reader& from) {
        using Maker = std::variant<T...> (*)(Reader&);
        constexpr Maker makers[] = {
            +[](Reader& reader) { return std::variant<T...>(flex::get<T>(reader)); }...};
        std::uint32_t index = from.count(0);
        if (index >= sizeof...(T)) throw Broken("no such alternative");
        return makers[index](from);
    }
};

// std::any holds one of the types that tests put in it.
using Anything = std::variant<bool, char, int, long, long long, float, double, const char*,
                              std::string, std::vector<int>, std::vector<long>,
                              std::vector<std::string>, std::map<int, int>, std::map<long, long>,
                              std::map<std::string, std::string>>;

// A partial specialization, though of one type: the bodies of a full one are compiled in every
// program, and these instantiate all of the variant.
template <class T>
struct Code<T, std::enable_if_t<std::is_same_v<T, std::any>>> {
    template <std::size_t I = 0>
    static void put(std::string& to, const T& value) {
        if constexpr (I == std::variant_size_v<Anything>) {
            if (value.has_value()) throw Broken("a std::any of a type that cannot be carried");
            put_count(to, I);
        } else if (auto* held = std::any_cast<std::variant_alternative_t<I, Anything>>(&value)) {
            put_count(to, I);
            flex::put(to, *held);
        } else {
            put<I + 1>(to, value);
        }
    }
    static T get(Reader& from) {
        Reader ahead = from;
        if (ahead.count(0) == std::variant_size_v<Anything>) {
            from = ahead;
            return T();
        }
        return std::visit([](auto item) { return T(item); }, flex::get<Anything>(from));
    }
};

// The judge's side: what the stub in place of the completion calls.

inline void on_terminate() {
    try {
        if (auto error = std::current_exception()) std::rethrow_exception(error);
    } catch (const Raised& error) {
        leave(std::strncmp(error.what(), "std::bad_alloc", 14) ? RAISED : MEMORY, error.what());
    } catch (const std::exception& error) {
        leave(RAISED, error.what());
    } catch (...) {
        leave(RAISED, "an exception");
    }
    leave(RAISED, "terminated");
}

template <class A>
void refill(Reader& from, A& argument) {
    auto value = get<std::decay_t<A>>(from);
    if constexpr (!std::is_const_v<A> && std::is_assignable_v<A&, std::decay_t<A>>)
        argument = std::move(value);
}

template <class R, class... A>
R call(A&... args) {
    std::set_terminate(on_terminate);
    try {
        std::string body;
        (put<std::decay_t<A>>(body, args), ...);
        if (!send_frame(body) || !receive_frame(body)) leave(GONE, "");
        Reader answer{body.data(), body.data() + body.size()};
        char kind = get<char>(answer);
        if (kind == 'X') throw Raised(get<std::string>(answer));
        if (kind == 'L') leave(LARGE, "answered with a value over the limit");
        if (kind != 'V') throw Broken("no answer");
        if constexpr (std::is_void_v<R>) {
            (refill(answer, args), ...);
        } else {
            std::decay_t<R> value = get<std::decay_t<R>>(answer);
            (refill(answer, args), ...);
            if constexpr (std::is_reference_v<R>) {
                static std::deque<std::decay_t<R>> kept;
                return kept.emplace_back(std::move(value));
            } else {
                return value;
            }
        }
    } catch (const Broken& error) {
        leave(BROKEN, std::string("answered with ") + error.what());
    }
}

// The candidate's side: answer calls of one function until the judge is gone.

template <class R, class... A, std::size_t... I>
void answer_one(R (*function)(A...), Reader from, std::string& to, std::index_sequence<I...>) {
    std::tuple<std::decay_t<A>...> args{get<std::decay_t<A>>(from)...};
    to = 'V';
    if constexpr (std::is_void_v<R>) {
        function(static_cast<A>(std::get<I>(args))...);
    } else {
        put<std::decay_t<R>>(to, function(static_cast<A>(std::get<I>(args))...));
    }
    (put(to, std::get<I>(args)), ...);
}

template <class R, class... A>
int serve(R (*function)(A...)) {
    std::string body, answer;
    while (receive_frame(body)) {
        std::string error;
        try {
            Reader from{body.data(), body.data() + body.size()};
            answer_one(function, from, answer, std::index_sequence_for<A...>());
            if (answer.size() > FRAME_LIMIT) answer = "L";
            if (!send_frame(answer)) break;
            continue;
        } catch (const std::exception& raised) {
            error = raised.what();
        } catch (...) {
            error = "an exception that is no std::exception";
        }
        answer = 'X';
        put(answer, error);
        send_frame(answer);
    }
    return 0;
}

}  // namespace flex
