// FunctionRef: calls a function object that somebody else keeps, for the time of one call.
//
// std::function copies what it holds, and allocates for more than two words of captures: not for a
// parameter of code that must go on when memory runs out. (C++26 has std::function_ref.)
#pragma once

#include <memory>
#include <type_traits>
#include <utility>

namespace rill {

template <typename Signature>
class FunctionRef;

template <typename R, typename... Args>
class FunctionRef<R(Args...)> {
 public:
  // `fn` must outlive this object: fine for an argument, not for a member.
  template <typename Fn>
    requires(!std::is_same_v<std::remove_cvref_t<Fn>, FunctionRef> &&
             std::is_invocable_r_v<R, Fn&, Args...>)
  FunctionRef(Fn&& fn)  // NOLINT(google-explicit-constructor): lambdas are passed as they are
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(fn)))),
        call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<Fn>*>(object))(std::forward<Args>(args)...);
        }) {}

  R operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

 private:
  void* object_;
  R (*call_)(void* object, Args... args);
};

}  // namespace rill
