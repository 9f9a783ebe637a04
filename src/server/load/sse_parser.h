// SseParser: server-sent events from bytes as they arrive (WHATWG HTML, 9.2.6): the data of each
// event. Lines end with LF, CR LF or CR; comments and other fields are skipped; several data lines
// of one event are joined with LF. Bounded: an event of more than max_event_bytes is an error.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace rill::server {

class SseParser {
 public:
  explicit SseParser(size_t max_event_bytes = 1 << 20) : max_event_bytes_(max_event_bytes) {}

  // Appends the data of each event that `bytes` completes. False: too large; no further calls.
  bool Feed(std::string_view bytes, std::vector<std::string>* events);

 private:
  void EndLine(std::vector<std::string>* events);

  size_t max_event_bytes_;
  std::string line_, data_;
  bool has_data_ = false;
  bool after_cr_ = false;
};

}  // namespace rill::server
