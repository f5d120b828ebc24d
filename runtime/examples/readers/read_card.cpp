// Reads an artifact with onnxruntime's C++ API alone: the card, then one answer.
//
//     c++ -std=c++17 read_card.cpp -I ONNXRUNTIME/include -L ONNXRUNTIME/lib -lonnxruntime -o read_card
//     ./read_card digits.onnx
//
// The card is JSON; nlohmann/json (Debian: nlohmann-json3-dev) reads it. The seal is not checked
// here: read_card.mjs shows how, and a device that has Python has `edgeport verify`.

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: read_card MODEL.onnx\n";
    return 2;
  }
  try {
    Ort::Env environment(ORT_LOGGING_LEVEL_ERROR, "read_card");
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(1);
    Ort::Session session(environment, argv[1], options);

    // The card is an entry of the model's metadata.
    Ort::AllocatorWithDefaultOptions allocator;
    auto text = session.GetModelMetadata().LookupCustomMetadataMapAllocated("edgeport.card", allocator);
    if (!text) {
      std::cerr << argv[1] << " has no card\n";
      return 3;
    }
    const auto card = nlohmann::json::parse(text.get());
    const int version = card.at("format_version");
    if (version > 2) {
      std::cerr << "card format " << version << ", expected 1 or 2\n";
      return 5;
    }

    // One sample for the only input, N = 1; free axes would need a size of the caller's. A program
    // of yours puts its own data here: this one takes the lowest value of the calibrated range.
    const auto& input = card.at("inputs").at(0);
    if (card.at("inputs").size() != 1 || input.at("dtype") != "float32") {
      std::cerr << "this example takes a model with one float32 input\n";
      return 2;
    }
    std::vector<int64_t> shape;
    int64_t size = 1;
    for (const auto& axis : input.at("shape")) {
      shape.push_back(axis.is_number() ? axis.get<int64_t>() : 1);
      size *= shape.back();
    }
    const auto& range = input.at("value_range");
    std::vector<float> values(size, range.is_null() ? 0.0f : range.at(0).get<float>());
    auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    auto tensor = Ort::Value::CreateTensor<float>(memory, values.data(), values.size(), shape.data(),
                                                  shape.size());

    const std::string input_name = input.at("name"), output_name = card.at("outputs").at(0).at("name");
    const char* inputs[] = {input_name.c_str()};
    const char* outputs[] = {output_name.c_str()};
    auto answers = session.Run(Ort::RunOptions{}, inputs, &tensor, 1, outputs, 1);
    const float* scores = answers[0].GetTensorData<float>();
    const size_t count = answers[0].GetTensorTypeAndShapeInfo().GetElementCount();

    const size_t best = std::max_element(scores, scores + count) - scores;
    const auto& labels = card.at("labels");
    nlohmann::json found = {{"name", card.at("name")},
                            {"best", labels.is_null() ? nlohmann::json(best) : labels.at(best)},
                            {"scores", std::vector<float>(scores, scores + count)}};
    std::cout << found.dump() << "\n";
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
