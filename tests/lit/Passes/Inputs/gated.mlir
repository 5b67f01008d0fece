module attributes {moai.binding = array<i64: 2, 8, 1, 1>} {
  func.func private @block(%x: !moai.tensor<[b, 4], f32>, %g: !moai.tensor<[8, 4], f32>, %u: !moai.tensor<[8, 4], f32>, %d: !moai.tensor<[4, 8], f32>) -> !moai.tensor<[b, 4], f32> {
    %gate = moai.contract %x, %g {equation = "ak,nk->an"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[8, 4], f32>) -> !moai.tensor<[b, 8], f32>
    %act = moai.elementwise %gate {kind = "silu"} : (!moai.tensor<[b, 8], f32>) -> !moai.tensor<[b, 8], f32>
    %up = moai.contract %x, %u {equation = "ak,nk->an"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[8, 4], f32>) -> !moai.tensor<[b, 8], f32>
    %both = moai.elementwise %act, %up {kind = "mul"} : (!moai.tensor<[b, 8], f32>, !moai.tensor<[b, 8], f32>) -> !moai.tensor<[b, 8], f32>
    %down = moai.contract %both, %d {equation = "ak,nk->an"} : (!moai.tensor<[b, 8], f32>, !moai.tensor<[4, 8], f32>) -> !moai.tensor<[b, 4], f32>
    return %down : !moai.tensor<[b, 4], f32>
  }
  func.func @step(%x: !moai.tensor<[b, 4], f32> {moai.name = "x", moai.role = "input"},
                  %g: !moai.tensor<[8, 4], f32> {moai.name = "g", moai.role = "parameter"},
                  %u: !moai.tensor<[8, 4], f32> {moai.name = "u", moai.role = "parameter"},
                  %d: !moai.tensor<[4, 8], f32> {moai.name = "d", moai.role = "parameter"}) -> !moai.tensor<[], f32> {
    %0 = call @block(%x, %g, %u, %d) {moai.block = "layers.0"} : (!moai.tensor<[b, 4], f32>, !moai.tensor<[8, 4], f32>, !moai.tensor<[8, 4], f32>, !moai.tensor<[4, 8], f32>) -> !moai.tensor<[b, 4], f32>
    %loss = moai.reduce %0 {dims = array<i64: 0, 1>, keep_dims = false, kind = "sum"} : (!moai.tensor<[b, 4], f32>) -> !moai.tensor<[], f32>
    return %loss : !moai.tensor<[], f32>
  }
}
