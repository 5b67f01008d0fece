module attributes {moai.binding = array<i64: 2, 8, 1, 1>} {
  func.func private @block(%x: !moai.tensor<[b, s, 4], f32>, %w: !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, s, 4], f32> {
    %h = moai.contract %x, %w {equation = "abk,nk->abn"} : (!moai.tensor<[b, s, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, s, 4], f32>
    %y = moai.elementwise %h {kind = "silu"} : (!moai.tensor<[b, s, 4], f32>) -> !moai.tensor<[b, s, 4], f32>
    return %y : !moai.tensor<[b, s, 4], f32>
  }
  func.func @step(%x: !moai.tensor<[b, s, 4], f32> {moai.name = "x", moai.role = "input"},
                  %w0: !moai.tensor<[4, 4], f32> {moai.name = "w0", moai.role = "parameter"},
                  %w1: !moai.tensor<[4, 4], f32> {moai.name = "w1", moai.role = "parameter"}) -> !moai.tensor<[], f32> {
    %0 = call @block(%x, %w0) {moai.block = "layers.0"} : (!moai.tensor<[b, s, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, s, 4], f32>
    %1 = call @block(%0, %w1) {moai.block = "layers.1"} : (!moai.tensor<[b, s, 4], f32>, !moai.tensor<[4, 4], f32>) -> !moai.tensor<[b, s, 4], f32>
    %loss = moai.reduce %1 {dims = array<i64: 0, 1, 2>, keep_dims = false, kind = "mean"} : (!moai.tensor<[b, s, 4], f32>) -> !moai.tensor<[], f32>
    return %loss : !moai.tensor<[], f32>
  }
}
