module attributes {moai.binding = array<i64: 2, 8, 1, 1>} {
  func.func private @block(%x: !moai.tensor<[b, 4], f32>, %w: !moai.tensor<[4, 4], f32>, %p: !moai.tensor<[4], f32>) -> !moai.tensor<[b, 4], f32> {
    %h = moai.contract %x, %w {equation = "ak,nk->an"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, 4], f32>
    %y = moai.elementwise %h, %p {kind = "mul"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4], f32>) -> !moai.tensor<[b, 4], f32>
    return %y : !moai.tensor<[b, 4], f32>
  }
  func.func @step(%x: !moai.tensor<[b, 4], f32> {moai.name = "x", moai.role = "input"},
                  %in: !moai.tensor<[4, 4], f32> {moai.name = "in", moai.role = "parameter"},
                  %w0: !moai.tensor<[4, 4], f32> {moai.name = "w0", moai.role = "parameter"},
                  %p: !moai.tensor<[4], f32> {moai.name = "p", moai.role = "buffer"},
                  %w1: !moai.tensor<[4, 4], f32> {moai.name = "w1", moai.role = "parameter"},
                  %w2: !moai.tensor<[4, 4], f32> {moai.name = "w2", moai.role = "parameter"}) -> !moai.tensor<[], f32> {
    %e = moai.contract %x, %in {equation = "ak,nk->an"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, 4], f32>
    %0 = call @block(%e, %w0, %p) {moai.block = "layers.0"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>, !moai.tensor<[4], f32>) -> !moai.tensor<[b, 4], f32>
    %1 = call @block(%0, %w1, %p) {moai.block = "layers.1"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>, !moai.tensor<[4], f32>) -> !moai.tensor<[b, 4], f32>
    %2 = call @block(%1, %w2, %p) {moai.block = "layers.2"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[4, 4], f32>, !moai.tensor<[4], f32>) -> !moai.tensor<[b, 4], f32>
    %loss = moai.reduce %2 {dims = array<i64: 0, 1>, keep_dims = false, kind = "mean"} : (!moai.tensor<[b, 4], f32>) -> !moai.tensor<[], f32>
    return %loss : !moai.tensor<[], f32>
  }
}
